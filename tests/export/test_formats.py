"""Every number of a run is found again by the reader that each format is made for."""

import csv
import json
import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nndiag.export import COLUMNS, FORMATS, Row, write
from nndiag.store import read

Store = Callable[..., Any]
Table = dict[tuple[int, str, str, str], tuple[float, tuple[Any, ...]]]
HOSTILE = 'a,"b"\n=1+1;<script>é</script>'


def by_key(rows: Any) -> Table:
    table: Table = {}
    for step, role, site, quantity, value, kind, layer, file, line in rows:
        key = int(step), role, site, quantity
        assert key not in table
        table[key] = float(value), (kind, layer, file, int(line))
    return table


def read_csv(path: Path) -> tuple[Table, Any]:
    with path.open(encoding="utf-8", newline="") as file:
        heading, *rows = csv.reader(file)
    assert tuple(heading) == COLUMNS
    return by_key(rows), json.loads(Path(f"{path}.json").read_text("utf-8"))


def read_json(path: Path) -> tuple[Table, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    document = json.loads(path.read_text("ascii"), parse_constant=refuse)
    assert tuple(document["columns"]) == COLUMNS
    return by_key(document["rows"]), document["report"]


def read_parquet(path: Path) -> tuple[Table, Any]:
    table = pytest.importorskip("pyarrow.parquet").read_table(path)
    assert tuple(table.column_names) == COLUMNS
    assert all(table[name].null_count == 0 for name in COLUMNS)
    rows = zip(*(table[name].to_pylist() for name in COLUMNS), strict=True)
    return by_key(rows), json.loads(table.schema.metadata[b"nndiag"])


READERS = {"csv": read_csv, "json": read_json, "parquet": read_parquet}


@pytest.fixture(params=READERS)
def exported(request: Any, store_numbers: Store) -> tuple[Any, Table, Any]:
    """A run, and what the reader of a format found in its export."""
    format = request.param
    if FORMATS[format].package:
        pytest.importorskip(FORMATS[format].package)
    stored = store_numbers()
    return stored, *READERS[format](write(stored.path, to=format))


def accumulate(path: Path) -> Any:
    """TensorBoard's own reader, told to leave nothing out."""
    pytest.importorskip("tensorboardX")
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    events = accumulator.EventAccumulator(
        str(path), size_guidance={"scalars": 0, "tensors": 0}
    )
    return events.Reload()


def test_every_format_has_a_reader_here() -> None:
    assert {*READERS, "tensorboard"} == set(FORMATS)


def test_every_number_comes_out_as_it_went_in(exported: Any) -> None:
    stored, table, _ = exported
    assert table.keys() == stored.numbers.keys()
    for key, number in stored.numbers.items():
        np.testing.assert_equal(table[key][0], number, err_msg=str(key))


def test_the_numbers_are_those_of_the_run_read_back(exported: Any) -> None:
    stored, table, _ = exported
    run = read(stored.path)
    for (role, quantity, site), series in run.readings.items():
        for step, number in zip(run.recorded.tolist(), series, strict=True):
            found, _ = table.get((step, role, str(site), quantity), (math.nan, ()))
            np.testing.assert_equal(found, number)
    for step, number in zip(run.steps.tolist(), run.loss, strict=True):
        np.testing.assert_equal(table[step, "run", "", "loss"][0], number)


def test_each_row_says_where(exported: Any) -> None:
    _, table, _ = exported
    sites = {key[2]: where for key, (_, where) in table.items()}
    assert sites == {
        "": ("", "", "", 0),
        "hidden/sigmoid": ("activation", "hidden", "m.py", 7),
        "w": ("parameter", "w", HOSTILE, 3),  # of no layer, and before the last one
        HOSTILE: ("tap", "", "", 0),
    }


def test_settings_command_versions_and_findings_go_along(exported: Any) -> None:
    _, _, document = exported
    assert document["run"]["command"] == f"nndiag run {HOSTILE}"
    assert document["run"]["settings"] == {"rate": "Infinity"}
    assert document["run"]["versions"] == {"jax": "0.11.0"}
    assert "ND401" in {finding["code"] for finding in document["findings"]}


def test_tensorboard_shows_every_number_as_float32(store_numbers: Store) -> None:
    pytest.importorskip("tensorboardX")
    stored = store_numbers()
    events = accumulate(write(stored.path, to="tensorboard"))
    found = {
        (event.step, tag): event.value
        for tag in events.Tags()["scalars"]
        for event in events.Scalars(tag)
    }
    expected = {
        (step, "/".join(part for part in (role, site, quantity) if part)): number
        for (step, role, site, quantity), number in stored.numbers.items()
    }
    assert found.keys() == expected.keys()
    for key, number in expected.items():
        np.testing.assert_equal(np.float32(found[key]), np.float32(number))


def test_tensorboard_counts_the_time_from_the_start_of_the_run(
    store_numbers: Store,
) -> None:
    pytest.importorskip("tensorboardX")
    events = accumulate(write(store_numbers().path, to="tensorboard"))
    began = 1767323045  # date -d 2026-01-02T03:04:05Z +%s
    times = [event.wall_time - began for event in events.Scalars("metric/accuracy")]
    assert times == [step / 8 for step in range(12)]


def test_tensorboard_shows_findings_and_settings_as_text(store_numbers: Store) -> None:
    pytest.importorskip("tensorboardX")
    events = accumulate(write(store_numbers().path, to="tensorboard"))
    texts = {
        tag: events.Tensors(tag)[0].tensor_proto.string_val[0].decode()
        for tag in events.Tags()["tensors"]
        if tag.startswith("nndiag/")
    }
    findings = texts["nndiag/findings/text_summary"]
    report = texts["nndiag/report/text_summary"]
    assert "ND401" in findings
    assert json.loads(report)["run"]["settings"] == {"rate": "Infinity"}
    # an indented line is code to Markdown, which leaves what is in it alone
    assert all(line.startswith("    ") for line in (findings + report).splitlines())


def test_numbers_beyond_float32_become_what_tensorboard_can_show(
    store_numbers: Store,
) -> None:
    pytest.importorskip("tensorboardX")
    from nndiag.export.tensorboard import write as write_events

    folder = store_numbers().path / "events"
    document = json.dumps(
        {"run": {"started": "?"}, "verdict": {"sentence": ""}, "findings": []}
    )
    values = [1e300, -1e300, 1e-300]
    rows = [
        Row(step, "value", "s", "norm", value, "", "", "", 0)
        for step, value in enumerate(values)
    ]
    write_events(folder, document, rows)
    found = [event.value for event in accumulate(folder).Scalars("value/s/norm")]
    assert found == [math.inf, -math.inf, 0.0]


@pytest.mark.parametrize("format", ["csv", "json"])
@given(st.lists(st.floats(), min_size=1))
def test_a_number_as_text_is_the_same_number(format: str, values: list[float]) -> None:
    rows = [
        Row(step, "value", "s", "norm", value, "", "", "", 0)
        for step, value in enumerate(values)
    ]
    with TemporaryDirectory() as folder:
        path = Path(folder, "table")
        import_module(f"nndiag.export.{format}").write(path, "{}", rows)
        table, _ = READERS[format](path)
    found = [number for number, _ in table.values()]
    np.testing.assert_array_equal(found, values)
