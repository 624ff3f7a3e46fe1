import dataclasses
import json
import math
import sqlite3
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nndiag import store
from nndiag.errors import RunError
from nndiag.records import Autopsy, Direction, Header, Kind, Link, Operand
from nndiag.store.schema import TABLES

words = st.text(max_size=6)
counts = st.integers(0, 10**9)
# NaN equals nothing, so the numbers of the round trip are the others
numbers = st.floats(allow_nan=False)
shapes = st.lists(st.integers(0, 99), max_size=3).map(tuple)
paths = st.lists(words, max_size=3).map(tuple)
kinds, directions = (st.sampled_from(get_args(one)) for one in (Kind, Direction))
operands = st.builds(
    Operand,
    dtype=words,
    shape=shapes,
    low=numbers,
    high=numbers,
    nans=counts,
    infs=counts,
    values=st.lists(numbers, max_size=3).map(tuple),
)
links = st.builds(
    Link,
    kind=kinds,
    primitive=words,
    direction=directions,
    file=words,
    line=counts,
    path=paths,
)


def autopsies(origins: st.SearchStrategy) -> st.SearchStrategy:
    return st.builds(
        Autopsy,
        kind=kinds,
        primitive=words,
        file=words,
        line=counts,
        column=counts,
        source=words,
        direction=directions,
        scope=words,
        path=paths,
        elements=st.lists(shapes, max_size=3).map(tuple),
        count=counts,
        operands=st.lists(operands, max_size=3).map(tuple),
        result=operands,
        origin=origins,
        chain=st.lists(links, max_size=3).map(tuple),
        reaches_output=st.booleans(),
        output=words,
        argument=words,
        cause=words,
        rewrite=words,
        compiler=st.booleans(),
        notes=paths,
        indent=st.none() | counts,
    )


@pytest.fixture
def autopsied(tmp_path: Path, autopsy: Autopsy) -> Path:
    writer = store.create(tmp_path / "run", Header())
    writer.add_autopsy(9, autopsy)
    writer.add_autopsy(4, dataclasses.replace(autopsy, line=44))
    writer.close("finished")
    assert writer.lost is None
    return tmp_path / "run"


def tamper(path: Path, script: str, *values: object) -> Path:
    connection = sqlite3.connect(path / "run.sqlite")
    connection.execute(script, values)
    connection.commit()
    connection.close()
    return path


@given(autopsies(st.none() | autopsies(st.none())))
def test_an_autopsy_survives_json(autopsy: Autopsy) -> None:
    text = json.dumps(store.autopsy_document(autopsy), allow_nan=False)
    assert store.read_document(json.loads(text)) == autopsy


def test_every_field_but_the_program_is_kept(autopsy: Autopsy) -> None:
    named = {field.name for field in dataclasses.fields(Autopsy)}
    assert set(store.autopsy_document(autopsy)) == named - {"values", "reproduction"}


def test_numbers_that_json_lacks_come_back(autopsied: Path) -> None:
    run = store.read(autopsied)
    assert list(run.autopsies) == [4, 9]
    assert [found.line for found in run.autopsies.values()] == [44, 3]
    result = run.autopsies[9].result
    assert math.isnan(result.low) and result.high == -math.inf
    assert math.isnan(result.values[0])
    assert result.values[1:] == (math.inf, -math.inf, 1.5)
    assert run.autopsies[9].values == {} and run.autopsies[9].reproduction is None


def test_numbers_of_numpy_are_numbers(tmp_path: Path, autopsy: Autopsy) -> None:
    odd = dataclasses.replace(
        autopsy,
        count=np.int64(5),
        elements=((np.int32(2), 3),),
        reaches_output=np.bool_(False),
        operands=(
            Operand(
                dtype="float16",
                shape=(np.int64(4),),
                low=np.float16(-2.5),
                high=np.float32(math.inf),
            ),
        ),
    )
    found = store.read_document(json.loads(json.dumps(store.autopsy_document(odd))))
    assert (found.count, found.elements, found.reaches_output) == (5, ((2, 3),), False)
    (operand,) = found.operands
    assert (operand.shape, operand.low, operand.high) == ((4,), -2.5, math.inf)


def test_it_is_committed_at_once(tmp_path: Path, autopsy: Autopsy) -> None:
    writer = store.create(tmp_path / "run", Header())
    writer.add_autopsy(0, autopsy)
    assert list(store.read(tmp_path / "run").autopsies) == [0]
    writer.close("finished")


def test_one_too_large_is_left_out_and_the_training_goes_on(
    tmp_path: Path, autopsy: Autopsy
) -> None:
    writer = store.create(tmp_path / "run", Header())
    writer.add_autopsy(0, dataclasses.replace(autopsy, source="x" * (1 << 20)))
    assert writer.lost is not None and "the autopsy of step 0" in writer.lost
    writer.add_autopsy(1, autopsy)
    writer.close("finished")
    run = store.read(tmp_path / "run")
    assert list(run.autopsies) == [1]
    assert any("autopsy of step 0" in note for note in run.notes)


@pytest.mark.parametrize(
    "document",
    [
        "",
        "{",
        "[]",
        "7",
        "{}",
        "null",
        b"\xff\xfe\x00",
        "[" * 100_000,
        '{"kind": "nan", "line": ' + "9" * 5_000 + "}",
        "x" * (2 << 20),
    ],
    ids=range(10),
)
def test_a_damaged_row_is_noted_and_costs_nothing_else(
    autopsied: Path, document: str | bytes
) -> None:
    tamper(autopsied, "UPDATE autopsy SET document = ? WHERE step = 9", document)
    run = store.read(autopsied)
    assert list(run.autopsies) == [4]
    (note,) = run.notes
    assert "autopsy of step 9 is damaged" in note and len(note) < 400


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", "zero"),
        ("direction", 3),
        ("line", "3"),
        ("line", True),
        ("count", 1.5),
        ("source", None),
        ("path", "scan[7]"),
        ("elements", [["a"]]),
        ("operands", [{}]),
        ("result", None),
        ("result", {"dtype": "f", "shape": [], "low": "low", "high": 1}),
        ("origin", 3),
        ("chain", [{"kind": "nan"}]),
        ("reaches_output", 1),
        ("indent", "x"),
    ],
)
def test_a_field_of_another_type_is_refused(
    autopsy: Autopsy, name: str, value: object
) -> None:
    document = store.autopsy_document(autopsy)
    with pytest.raises(ValueError):
        store.read_document({**document, name: value})
    assert store.read_document(document).line == 3


def test_a_number_beyond_every_float_is_damage(autopsied: Path) -> None:
    tamper(
        autopsied,
        """UPDATE autopsy SET document = replace(document, '"low": "NaN"', ?)
        WHERE step = 9""",
        '"low": 1' + "0" * 400,
    )
    run = store.read(autopsied)
    assert list(run.autopsies) == [4] and len(run.notes) == 1


def test_a_million_rows_are_not_read(autopsied: Path) -> None:
    tamper(
        autopsied,
        """WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n LIMIT 5000)
        INSERT INTO autopsy SELECT i, (SELECT document FROM autopsy) FROM n""",
    )
    assert len(store.read(autopsied).autopsies) == 100


def test_a_run_of_the_schema_before_is_read(autopsied: Path) -> None:
    tamper(autopsied, "DROP TABLE autopsy")
    with pytest.raises(RunError, match="autopsy"):
        store.read(autopsied)
    tamper(autopsied, "PRAGMA user_version = 1")
    run = store.read(autopsied)
    assert run.autopsies == {} and run.notes == ()
    # nothing that calls itself so is asked
    tamper(autopsied, "CREATE TABLE autopsy (step, trap)")
    assert store.read(autopsied).autopsies == {}


def test_no_other_table_is_spared_in_the_schema_before(autopsied: Path) -> None:
    assert list(TABLES)[-1] == "autopsy"
    tamper(autopsied, "PRAGMA user_version = 1")
    tamper(autopsied, "DROP TABLE note")
    with pytest.raises(RunError, match="'note'"):
        store.read(autopsied)
