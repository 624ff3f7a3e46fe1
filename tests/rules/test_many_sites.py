from dataclasses import replace

import numpy as np
import pytest

from nndiag.records import Layer, Site
from nndiag.rules import diagnose
from nndiag.rules.measures import first, first_column, median, medians
from nndiag.rules.words import places


def deep(build, saturated_layers, depth=60):
    share = np.zeros((depth, 30))
    for at, value in saturated_layers.items():
        share[at] = value
    return build(function="tanh", depth=depth, saturated=share, slope=0.9)


def test_scattered_places_among_many_are_counted_and_the_worst_is_named(build):
    run = deep(build, {3: 0.5, 11: 0.9, 12: 0.6, 40: 0.7})
    (finding,) = (f for f in diagnose(run) if f.code == "ND101")
    assert "4 of 60 layers (worst: hidden_12)" in finding.title
    assert [site.scope for site in finding.sites] == [
        "hidden_4", "hidden_12", "hidden_13", "hidden_41"
    ]  # fmt: skip


def test_a_range_of_many_places_stays_a_range(build):
    run = deep(build, dict.fromkeys(range(60), 0.8))
    (finding,) = (f for f in diagnose(run) if f.code == "ND101")
    assert "hidden_1 to hidden_60" in finding.title


def test_places_of_a_small_run_are_named_as_ever(build):
    run = deep(build, {}, depth=8)
    activations = run.of_kind("activation")
    assert places(run, activations[::2]) == "hidden_1 and 3 more"
    assert places(run, activations[:2]) == "hidden_1 and hidden_2"


def test_without_a_worst_place_the_first_is_named(build):
    run = deep(build, {})
    chosen = run.of_kind("activation")[4::9]
    assert places(run, chosen) == "7 of 60 layers (the first: hidden_5)"


@pytest.mark.parametrize(("std", "word"), [(900.0, "large"), (1e-6, "small")])
def test_of_many_inputs_off_scale_the_worst_speaks_for_all(build, std, word):
    run = build(inputs=(0.0, std, std))
    (old,) = run.of_kind("input")
    extra = [Site(f"input_{i}", kind="input", shape=old.shape) for i in range(300)]
    readings = dict(run.readings)
    for i, site in enumerate(extra):
        scale = {"large": 1.0 + i, "small": 1 / (1.0 + i)}[word]
        for quantity in ("mean", "std", "largest"):
            series = run.series("value", quantity, old)
            readings["value", quantity, site] = series * scale
    many = replace(run, sites=(*extra, *run.sites), readings=readings)

    def every(findings):
        for finding in findings:
            yield finding
            yield from every(finding.symptoms)

    (found,) = (f for f in every(diagnose(many)) if f.code == "ND701")
    assert f"too {word}" in found.title
    assert "input_299 is the worst of 301" in found.title
    assert len(found.sites) == 301 and found.sites[0] == "input_299"


def test_rows_are_measured_as_single_series_are():
    random = np.random.default_rng(0)
    for width in (1, 2, 7, 8):
        rows = random.standard_normal((50, width))
        rows[random.random(rows.shape) < 0.4] = np.nan
        np.testing.assert_equal(medians(rows), [median(row) for row in rows])
        np.testing.assert_equal(first_column(rows), [first(row) for row in rows])
    assert np.isnan(medians(np.zeros((3, 0)))).all()
    assert np.isnan(first_column(np.zeros((3, 0)))).all()


def test_a_parameter_belongs_to_the_next_activation_of_its_scope(build):
    def site(key, kind, scope, order):
        return Site(key, kind=kind, scope=scope, order=order)

    early, late = (site(f"a/relu_{i}", "activation", "a", 10 * i) for i in (1, 2))
    weights = [site(f"a/w_{i}", "parameter", "a", i) for i in (4, 14, 24)]
    bare = site("relu", "activation", "", 30)
    loose = site("w", "parameter", "", 28)
    sites = (weights[0], early, weights[1], late, weights[2], loose, bare)
    run = replace(build(), sites=sites)
    assert run.layers() == (
        Layer("a", early, (weights[0],)),
        Layer("a", late, (weights[1],)),
        Layer("a", None, (weights[2],)),
        Layer("relu", bare, (loose,)),
    )
