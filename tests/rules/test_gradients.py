"""ND201 and ND202 on profiles of closed form: the norm at depth k is ρᵏ."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nndiag.rules import diagnose, exploding_gradient, vanishing_gradient


def vanishing(run):
    return next(vanishing_gradient.examine(run), None)


def scaled(run, factor):
    """The run whose loss is multiplied by a constant."""
    linear = ("cotangent", "gradient")
    readings = {k: v * factor if k[0] in linear else v for k, v in run.readings.items()}
    return dataclasses.replace(run, readings=readings, loss=run.loss * factor)


@given(depth=st.integers(3, 12), factor=st.floats(0.02, 3.0))
def test_it_fires_exactly_where_the_ratio_is_below_its_threshold(build, depth, factor):
    ratio = factor ** (depth - 1)
    if math.isclose(ratio, 0.03, rel_tol=1e-6):
        return
    finding = vanishing(build(depth=depth, gradient_per_layer=factor))
    assert (finding is not None) == (ratio < 0.03)
    if finding is not None:
        assert finding.evidence[0].value == pytest.approx(ratio)
        assert finding.evidence[1].value == pytest.approx(factor)


@given(scale=st.floats(1e-6, 1e6), factor=st.sampled_from([0.2, 0.4, 0.9]))
def test_the_scale_of_the_loss_does_not_change_the_verdict(build, scale, factor):
    known = build(gradient_per_layer=factor)
    # with a known number of classes the level of the loss means something
    sites = tuple(site for site in known.sites if site.kind != "logits")
    run = dataclasses.replace(known, sites=sites)
    before, after = vanishing(run), vanishing(scaled(run, scale))
    assert (before is None) == (after is None)
    if before is not None:
        assert after.title == before.title
        assert after.severity == before.severity


def test_convergence_shrinks_all_gradients_alike_and_is_not_vanishing(build):
    fall = np.exp(-np.arange(30))
    run = build(gradient_over_time=fall, loss=2.3 * np.exp(-np.arange(300) / 10))
    readings = {
        k: v * fall if k[0] == "cotangent" else v for k, v in run.readings.items()
    }
    assert diagnose(dataclasses.replace(run, readings=readings)) == ()


@pytest.mark.parametrize("depth", [1, 2])
def test_two_layers_are_no_profile(build, depth):
    assert vanishing(build(depth=depth, gradient_per_layer=1e-6)) is None


def test_a_transient_at_the_start_is_not_vanishing(build):
    run = build()
    site = run.of_kind("activation")[0]
    readings = dict(run.readings)
    readings["cotangent", "norm", site] = np.r_[np.full(10, 1e-6), np.ones(20)]
    assert vanishing(dataclasses.replace(run, readings=readings)) is None


def test_weight_gradients_stand_in_where_no_cotangent_was_measured(build):
    run = build(depth=5)
    matrices = [p for p in run.of_kind("parameter") if len(p.shape) == 2]
    readings = {k: v for k, v in run.readings.items() if k[0] != "cotangent"}
    for depth, site in enumerate(matrices):
        readings["gradient", "norm", site] = np.full(30, 10.0**depth)
    finding = vanishing(dataclasses.replace(run, readings=readings))
    assert finding.sites == tuple(matrices)
    assert finding.evidence[1].value == pytest.approx(0.1)


def test_a_root_mean_square_that_keeps_its_size_is_not_vanishing(build):
    """Eight units before a million: the norm differs by their number alone."""
    run = build(depth=3)
    narrow, _, wide = run.of_kind("activation")
    key = "cotangent", "norm"
    readings = {**run.readings, (*key, narrow): np.full(30, 1e-3)}
    wide.shape, old = (128, 64_000_000), wide.shape
    try:
        assert vanishing(dataclasses.replace(run, readings=readings)) is None
    finally:
        wide.shape = old
    assert vanishing(dataclasses.replace(run, readings=readings)) is not None


def test_the_cause_of_a_sigmoid_is_its_slope_of_at_most_a_quarter(build, plateau):
    run = build(function="sigmoid", gradient_per_layer=0.23, slope=0.235, loss=plateau)
    finding = vanishing(run)
    assert finding.severity == "error"
    assert "at best 0.25" in finding.cause and "slope of 0.235" in finding.cause
    assert "saturated" not in finding.cause
    assert finding.remedies[0].startswith("Use relu with He")


def test_the_cause_of_tanh_at_full_slope_is_the_scale_of_the_weights(build, plateau):
    run = build(function="tanh", gradient_per_layer=0.1, slope=0.99, loss=plateau)
    finding = vanishing(run)
    assert "the weights are too small" in finding.cause
    assert "LeCun" in finding.remedies[0]


def test_deep_sigmoid_names_layers_ratio_and_saturation(deep_sigmoid):
    first, *rest = diagnose(deep_sigmoid)
    assert first.code == "ND201" and rest == []
    assert "hidden_1" in first.title and "hidden_8" in first.title
    assert first.evidence[0].value == pytest.approx(0.35**7)
    assert "60 % of hidden_1" in first.cause and "0.047" in first.cause
    assert {s.code for s in first.symptoms} == {"ND101", "ND205"}


def test_the_explosion_is_dated(build):
    growth = np.where(np.arange(30) < 20, 1.0, 1e4)
    loss = np.where(np.arange(300) < 200, 1.0, 50.0)
    (finding,) = exploding_gradient.examine(build(gradient_over_time=growth, loss=loss))
    assert (finding.first_step, finding.last_step) == (200, 290)
    assert finding.evidence[0].value == pytest.approx(1e4)


def test_growth_towards_the_input_is_an_explosion_in_depth(build, plateau):
    run = build(gradient_per_layer=3.0, loss=plateau)
    (finding,) = exploding_gradient.examine(run)
    assert finding.evidence[0].value == pytest.approx(3.0**5)
    assert finding.severity == "error"


def test_growth_while_the_loss_falls_is_no_explosion(build):
    growth = np.logspace(0, 5, 30)
    assert list(exploding_gradient.examine(build(gradient_over_time=growth))) == []
