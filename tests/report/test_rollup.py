import re
import sys
from dataclasses import replace

import numpy as np
import pytest

from nndiag.report import build
from nndiag.report.layers import LayerRow, layer_rows
from nndiag.report.rollup import ROWS, ScopeRow
from nndiag.rules import diagnose


def test_a_small_network_has_a_row_for_each_layer(blocks):
    run = blocks.blocks_run(blocks=11)
    report = build(run, ())
    assert len(run.layers()) == ROWS == len(report.layers)
    assert repr(report.layers) == repr(layer_rows(run))  # NaN is not itself
    note = report.section("layers").blocks[0].note
    assert note == "24 layers from input to output; first → last recorded step."


def test_one_layer_more_is_rolled_up_and_every_layer_is_counted_once(blocks):
    run = blocks.blocks_run(blocks=12)
    report = build(run, ())
    assert len(report.layers) < ROWS < len(run.layers()) == 26
    counts = [getattr(row, "layers", 1) for row in report.layers]
    assert sum(counts) == 26


def test_siblings_share_a_row_named_by_the_range_of_their_indices(blocks):
    rows = build(blocks.blocks_run(blocks=96), ()).layers
    shared = {row.name: row for row in rows if isinstance(row, ScopeRow)}
    names = {re.sub(r"\d+–\d+", "*", name) for name in shared}
    assert names == {"blocks[*]/attn", "blocks[*]/mlp"}
    alone = [row.name for row in rows if isinstance(row, LayerRow)]
    assert {"embed", "head"} <= set(alone)
    for name, row in shared.items():
        part = name.split("/")[1]
        single = [one for one in alone if one.endswith(part)]
        assert row.layers == 96 - len(single)
        assert row.function == {"attn": "softmax", "mlp": "tanh"}[part]


def test_a_shared_row_has_lowest_median_and_highest_of_the_last_step(blocks):
    values = {("saturated", f"blocks[{i}]/mlp"): 0.001 * i for i in range(96)}
    run = blocks.blocks_run(blocks=96, last=values)
    rows = build(run, ()).layers
    (row,) = (r for r in rows if isinstance(r, ScopeRow) and r.name.endswith("/mlp"))
    alone = {
        int(r.name[7:-5]) for r in rows if r.name.endswith("]/mlp") and r is not row
    }
    rest = sorted(0.001 * i for i in range(96) if i not in alone)
    assert row.layers == len(rest)
    assert row.saturation.low == rest[0]
    assert row.saturation.high == rest[-1]
    assert row.saturation.median == pytest.approx(np.median(rest))


@pytest.mark.parametrize(
    ("quantity", "value", "field"),
    [
        ("saturated", 0.93, "saturation"),
        ("gradient", 1e-9, "gradient"),
        ("gradient", 1e5, "gradient"),
        ("update", 3e-8, "update"),
        ("update", 2.0, "update"),
        ("largest", 1e37, "headroom"),
    ],
)
def test_the_extremes_of_each_number_stand_on_their_own(blocks, quantity, value, field):
    run = blocks.blocks_run(blocks=96, last={(quantity, "blocks[57]/mlp"): value})
    report = build(run, ())
    (row,) = (row for row in report.layers if row.name == "blocks[57]/mlp")
    got = getattr(row, field).last
    assert got == pytest.approx(128 - np.log2(value) if field == "headroom" else value)


def test_layers_of_a_finding_stand_on_their_own_and_carry_its_mark(blocks):
    run = blocks.blocks_run(blocks=96)
    keys = ["blocks[3]/mlp/tanh", "blocks[71]/mlp/tanh"]
    report = build(run, (blocks.finding(run, keys, "saturation"),))
    marks = dict(zip((row.name for row in report.layers), report.marks, strict=True))
    assert marks["blocks[3]/mlp"] == marks["blocks[71]/mlp"] == {"saturation": "error"}
    assert all(
        not own
        for name, own in marks.items()
        if name not in ("blocks[3]/mlp", "blocks[71]/mlp")
    )


def test_of_a_finding_on_many_layers_the_worst_stand_alone_and_the_rest_is_marked(
    blocks,
):
    values = {("saturated", f"blocks[{i}]/mlp"): 0.5 + 0.004 * i for i in range(96)}
    run = blocks.blocks_run(blocks=96, last=values)
    keys = [f"blocks[{i}]/mlp/tanh" for i in range(96)]
    report = build(run, (blocks.finding(run, keys, "saturation", "warning"),))
    rows = {
        row.name: marks for row, marks in zip(report.layers, report.marks, strict=True)
    }
    assert {f"blocks[{i}]/mlp" for i in (93, 94, 95)} <= set(rows)
    shared = [name for name in rows if name.endswith("/mlp") and "–" in name]
    assert [rows[name] for name in shared] == [{"saturation": "warning"}]


def test_what_broke_down_is_told_in_the_row_that_hides_it(blocks):
    scopes = [f"blocks[{i}]/mlp" for i in range(40, 96)]
    run = blocks.blocks_run(
        blocks=96, last={("gradient", scope): np.nan for scope in scopes}
    )
    run = replace(run, finite=np.array([True, True, True, False]))
    report = build(run, ())
    assert "blocks[40]/mlp" in [row.name for row in report.layers]
    table = report.section("layers").blocks[0]
    cells = {row[0].text: row for row in table.rows}
    (shared,) = (row for name, row in cells.items() if "/mlp · " in name)
    column = table.columns.index("Gradient norm")
    hidden = 56 - sum(name in cells for name in scopes)
    assert shared[column].text == f"1e-3, NaN in {hidden}"


def test_the_note_tells_how_many_there_are_and_where_all_of_them_are(blocks):
    table = build(blocks.blocks_run(blocks=96), ()).section("layers").blocks[0]
    assert f"{len(table.rows)} rows for 194 layers" in table.note
    assert "nndiag export RUN --to csv" in table.note


@pytest.mark.parametrize(
    ("name", "shared"),
    [
        ("layers_{}", "layers_0–95/attn"),
        ("encoder/block_{}", "encoder/block_0–95/attn"),
        ("stage{}", "stage0–95/attn"),
    ],
)
def test_indices_are_known_as_the_libraries_write_them(blocks, name, shared):
    run = blocks.blocks_run(blocks=96, name=name)
    # an extreme that stands alone could end the range
    names = [row.name for row in build(run, ()).layers if isinstance(row, ScopeRow)]
    assert shared.split("0–95")[0] in "".join(names)
    assert all(re.fullmatch(r"\D*\d+–\d+/(attn|mlp)", one) for one in names)


def renamed(run, rename):
    """The run with other scopes."""
    sites = {
        site: type(site)(
            f"{rename(site.scope)}/{site.rpartition('/')[2]}",
            **{**vars(site), "scope": rename(site.scope)},
        )
        for site in run.sites
        if site.scope
    }
    return replace(
        run,
        sites=tuple(sites.get(site, site) for site in run.sites),
        readings={(r, q, sites.get(s, s)): x for (r, q, s), x in run.readings.items()},
        samples={},
    )


def test_names_without_indices_are_rolled_up_by_their_path(blocks):
    words = {}

    def rename(scope):
        word = words.setdefault(
            scope, "".join(chr(97 + int(d)) for d in str(len(words)))
        )
        return f"{'left' if len(words) % 2 else 'right'}/{word}"

    names = {}
    rows = build(
        renamed(
            blocks.blocks_run(30), lambda scope: names.setdefault(scope, rename(scope))
        ),
        (),
    ).layers
    assert len(rows) <= ROWS
    assert {r.name for r in rows if isinstance(r, ScopeRow)} == {"left/…", "right/…"}


def test_hostile_names_end_in_one_row(blocks):
    names = {}

    def rename(scope):
        words = f"{len(names):b}".replace("0", "x").replace("1", "y")
        return names.setdefault(scope, words + "9" * 5_000)

    rows = build(renamed(blocks.blocks_run(200), rename), ()).layers
    assert len(rows) <= ROWS
    assert rows[-1].name == "all other layers"


def calls(act):
    """How many functions are called: a measure of work that no clock disturbs."""
    count = 0

    def tick(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(tick)
    try:
        act()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    "act", [lambda run: build(run, ()), diagnose], ids=["build", "diagnose"]
)
def test_work_grows_linearly_with_the_number_of_layers(blocks, act):
    values = {("saturated", f"blocks[{i}]/mlp"): 0.9 for i in range(800)}
    values |= {("gradient", f"blocks[{i}]/attn"): 1e-9 for i in range(800)}
    few, many = (blocks.blocks_run(n, last=values) for n in (200, 800))
    act(blocks.blocks_run(50))  # what is made once
    assert calls(lambda: act(many)) < 5 * calls(lambda: act(few))


def test_work_on_findings_grows_linearly_with_their_sites(blocks):
    def work(count):
        run = blocks.blocks_run(count)
        keys = [f"blocks[{i}]/mlp/tanh" for i in range(count)]
        found = blocks.finding(run, keys, "profile")
        return calls(lambda: build(run, (replace(found, name="vanishing_gradient"),)))

    work(50)
    assert work(800) < 5 * work(200)
