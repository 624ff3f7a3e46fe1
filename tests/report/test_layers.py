import math

import numpy as np
import pytest

from nndiag.report import build
from nndiag.report.layers import headroom, layer_rows


def test_rows_hold_the_first_and_last_readings(example):
    run = example.sick_run()
    rows = {row.name: row for row in layer_rows(run)}
    assert list(rows) == [*(f"hidden_{i}" for i in range(1, 8)), "output"]
    for name, row in rows.items():
        if name == "output":
            continue
        share = run.readings["value", "saturated", f"{name}/sigmoid"]
        assert (row.saturation.first, row.saturation.last) == (share[0], share[-1])
        slope = run.readings["value", "slope", f"{name}/sigmoid"]
        assert (row.slope.first, row.slope.last) == (slope[0], slope[-1])
        norm = run.readings["cotangent", "norm", f"{name}/sigmoid"]
        assert (row.gradient.first, row.gradient.last) == (norm[0], norm[-1])


def test_update_ratio_is_norm_of_update_over_norm_of_weight(example):
    run = example.sick_run()
    row = layer_rows(run)[2]
    change = run.readings["update", "norm", "hidden_3/weight"]
    weight = run.readings["parameter", "norm", "hidden_3/weight"]
    assert row.update.last == pytest.approx(change[-1] / weight[-1], rel=1e-12)


def test_output_takes_the_gradient_by_the_logits(example):
    run = example.sick_run()
    expected = run.readings["cotangent", "norm", "logits"]
    assert layer_rows(run)[-1].gradient.last == expected[-1]


def test_without_cotangents_parameters_stand_in_for_all_layers(example):
    run = example.sick_run()
    kept = {
        key: series for key, series in run.readings.items() if key[0] != "cotangent"
    }
    rows = layer_rows(example.replace(run, readings=kept))
    for row in rows:
        expected = run.readings["gradient", "norm", f"{row.name}/weight"]
        assert row.gradient.first == expected[0]


@pytest.mark.parametrize(
    ("dtype", "largest", "bits"),
    [
        ("float16", 65504.0 / 8, 3.0),
        ("float32", 1.0, math.log2(float(np.finfo(np.float32).max))),
        ("bfloat16", 2.0**120, 8.0 - math.log2(2 / (2 - 2**-7))),
        ("float32", np.inf, 0.0),
        ("float32", 0.0, math.nan),
        ("int32", 5.0, math.nan),
    ],
)
def test_headroom_in_bits(example, dtype, largest, bits):
    site = example.Site("tap", kind="tap", dtype=dtype)
    run = example.replace(
        example.empty_run(),
        sites=(site,),
        recorded=np.array([0]),
        readings={("value", "largest", site): np.array([largest])},
    )
    assert headroom(run, (site,)) == pytest.approx(
        np.array([[bits]]), abs=1e-9, nan_ok=True
    )


def test_a_run_that_ended_in_nan_shows_no_older_values(example):
    run = example.healthy_run()
    late = run.recorded >= run.recorded[-3]
    spoiled = {key: np.where(late, np.nan, s) for key, s in run.readings.items()}
    broken = example.replace(run, finite=~late, readings=spoiled)
    for before, row in zip(layer_rows(run), layer_rows(broken), strict=True):
        for field in ("saturation", "gradient", "update", "headroom"):
            first = getattr(before, field).first
            assert getattr(row, field).first == pytest.approx(first, nan_ok=True)
            assert math.isnan(getattr(row, field).last)
    (table,) = build(broken, ()).section("layers").blocks
    assert table.rows[0][-1].text.endswith("→ NaN")
