"""Which rows of a table had a gradient is summed up over the steps, and read back."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nndiag.errors import RunError
from nndiag.records import (
    Header,
    Readings,
    Site,
    StepRecord,
    TensorStats,
    unpack_rows,
)
from nndiag.store import create, read

ROWS = 37
TABLE = Site("embedding", kind="parameter", shape=(ROWS, 4))


def pack(touched):
    words = np.zeros(-(-len(touched) // 16))
    for row in np.flatnonzero(touched):
        words[row // 16] += 2 ** (row % 16)
    return words


def record(step, touched):
    stats = TensorStats(norm=1.0, rows=pack(touched))
    return StepRecord(
        step, step / 8, 1.0, {}, Readings(1.0, 1.0, {}, {}, {}, {TABLE: stats}, {})
    )


@given(st.lists(st.booleans(), min_size=1, max_size=100))
def test_bits_come_back(touched):
    found = unpack_rows(pack(touched).astype(np.uint16), len(touched))
    assert found.tolist() == touched


def test_rows_of_all_steps_add_up(tmp_path: Path):
    seen = {0: [3, 36], 10: [3], 20: [0, 5], 30: [5, 36]}
    writer = create(tmp_path / "run", Header())
    for step, rows in seen.items():
        writer.add(record(step, np.isin(np.arange(ROWS), rows)))
        writer.flush()
    writer.close("finished")
    assert writer.lost is None
    run = read(tmp_path / "run")
    (coverage,) = run.coverage.values()
    assert list(run.coverage) == [TABLE]
    assert np.flatnonzero(coverage.touched).tolist() == [0, 3, 5, 36]
    assert (coverage.steps, coverage.latest, coverage.stride) == (4, 20, 1)
    assert coverage.share == pytest.approx(4 / ROWS)


@pytest.mark.parametrize("touched", [b"", b"123", b"1" * 400, 7, None])
def test_rows_of_another_table_are_refused(tmp_path: Path, touched):
    writer = create(tmp_path / "run", Header())
    writer.add(record(0, np.ones(ROWS, bool)))
    writer.close("finished")
    with sqlite3.connect(tmp_path / "run" / "run.sqlite") as connection:
        if touched is None:
            connection.execute("UPDATE embedding SET site = 99")
        else:
            connection.execute("UPDATE embedding SET touched = ?", (touched,))
    with pytest.raises(RunError, match="damaged"):
        read(tmp_path / "run")
