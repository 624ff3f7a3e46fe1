"""What the level "full" measures, stored and read back."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nndiag import store
from nndiag.errors import RunError
from nndiag.records import (
    HISTOGRAM_BINS,
    Header,
    Readings,
    Site,
    StepRecord,
    TensorStats,
    hardest,
)

UNIT = Site("hidden/relu", kind="activation", scope="hidden", function="relu")
WEIGHT = Site("hidden/w", kind="parameter", scope="hidden")


def record(step, norms=(1.0,)):
    counts = np.zeros(HISTOGRAM_BINS, np.float32)
    counts[step % HISTOGRAM_BINS] = 7
    units = np.array([[step, -1.5, 2], [0, 0.25, 1]], np.float32)
    return StepRecord(
        step, step / 8, 1.0, {},
        Readings(
            loss=1.0, finite=1.0,
            value={UNIT: TensorStats(mean=0.5, units=units)},
            cotangent={}, parameter={},
            gradient={WEIGHT: TensorStats(norm=1.0, histogram=counts)},
            update={WEIGHT: TensorStats(norm=1.0, histogram=2 * counts)},
            examples=np.array(norms, np.float32),
        ),
    )  # fmt: skip


def written(path, records):
    writer = store.create(path, Header())
    for one in records:
        writer.add(one)
    writer.close("finished")
    assert writer.lost is None
    return store.read(path)


def test_histograms_and_units_come_back_as_they_were(tmp_path) -> None:
    run = written(tmp_path / "run", [record(5)])
    expected = record(5).readings
    assert set(run.vectors) == {
        ("value", "units", UNIT, 5),
        ("gradient", "histogram", WEIGHT, 5),
        ("update", "histogram", WEIGHT, 5),
    }
    np.testing.assert_array_equal(
        run.vectors["value", "units", UNIT, 5], expected.value[UNIT].units
    )
    for role in ("gradient", "update"):
        np.testing.assert_array_equal(
            run.vectors[role, "histogram", WEIGHT, 5],
            getattr(expected, role)[WEIGHT].histogram,
        )


def test_they_are_kept_of_the_steps_that_samples_are_kept_of(tmp_path) -> None:
    run = written(tmp_path / "run", [record(step) for step in range(0, 300, 3)])
    assert sorted({step for *_, step in run.vectors}) == [
        0,
        3,
        6,
        12,
        24,
        48,
        96,
        192,
        297,
    ]


def test_the_eight_hardest_examples_are_kept_of_every_step(tmp_path) -> None:
    random = np.random.default_rng(0)
    norms = {step: random.exponential(size=20).astype(np.float32) for step in range(30)}
    run = written(tmp_path / "run", [record(s, own) for s, own in norms.items()])
    assert list(run.examples) == list(range(30))
    for step, own in norms.items():
        found = run.examples[step]
        assert found.size == 20
        assert found.positions == tuple(np.argsort(-own)[:8].tolist())
        assert found.norms == tuple(np.sort(own)[::-1][:8].tolist())
        assert found.largest == own.max()
        assert found.median == pytest.approx(float(np.median(own.astype(float))))


def test_an_example_that_is_not_finite_comes_first(tmp_path) -> None:
    norms = [1.0, math.inf, 3.0, math.nan, 2.0]
    run = written(tmp_path / "run", [record(0, norms)])
    found = run.examples[0]
    assert found.positions == (3, 1, 2, 4, 0)
    assert math.isnan(found.largest)
    assert math.isnan(found.norms[0])
    assert found.norms[1:] == (math.inf, 3.0, 2.0, 1.0)
    assert found.median == 3.0
    assert hardest(np.array(norms)).positions == found.positions


def test_every_number_is_streamed(tmp_path) -> None:
    written(tmp_path / "run", [record(0, [1.0, 4.0, 2.0]), record(1, [8.0])])
    found = {
        (entry.step, entry.quantity): entry.value
        for entry in store.stream(tmp_path / "run")
        if entry.role == "example"
    }
    assert found == {
        (0, "median"): 2.0, (0, "largest"): 4.0,
        (0, "0"): 1.0, (0, "1"): 4.0, (0, "2"): 2.0,
        (1, "median"): 8.0, (1, "largest"): 8.0, (1, "0"): 8.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE vector SET elements = x'0102'",
        "UPDATE vector SET elements = 'text' WHERE quantity = 'histogram'",
        "UPDATE vector SET elements = x'00000000' WHERE quantity = 'units'",
        "UPDATE vector SET quantity = 'secret' WHERE quantity = 'units'",
        "UPDATE vector SET role = 'other' WHERE quantity = 'units'",
        "UPDATE vector SET site = 99 WHERE quantity = 'units'",
        "UPDATE batch SET examples = 'many'",
        "UPDATE batch SET median = 'half'",
        "UPDATE example SET norm = 'much'",
    ],
)
def test_what_is_damaged_is_refused(tmp_path, statement) -> None:
    import sqlite3
    from contextlib import closing

    path = tmp_path / "run"
    written(path, [record(0)])
    with closing(sqlite3.connect(path / "run.sqlite")) as connection:
        assert connection.execute(statement).rowcount
        connection.commit()
    with pytest.raises(RunError):
        store.read(path)
