import json
import math
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nndiag import store
from nndiag.records import (
    QUANTITIES,
    Header,
    Readings,
    Role,
    Site,
    SiteKind,
    StepRecord,
    TensorStats,
)

ROLES = get_args(Role)
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "run-directory.md"

numbers = st.floats(allow_nan=True, allow_infinity=True)
readings32 = st.none() | st.floats(width=32)
sites = st.lists(
    st.builds(
        Site,
        st.text(max_size=8),
        kind=st.sampled_from(get_args(SiteKind)),
        scope=st.text(max_size=5),
        function=st.text(max_size=5),
        order=st.integers(0, 99),
        dtype=st.sampled_from(["float32", "bfloat16"]),
        shape=st.lists(st.integers(0, 512), max_size=4).map(tuple),
        file=st.text(max_size=8),
        line=st.integers(0, 9999),
    ),
    max_size=4,
    unique=True,
)


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[StepRecord], list[Site]]:
    places = draw(sites)
    stats = st.tuples(*[readings32] * len(QUANTITIES)).map(
        lambda cells: TensorStats(*cells)
    )
    by_site = st.dictionaries(st.sampled_from(places), stats) if places else st.just({})
    measured = st.tuples(st.sampled_from([0.0, 1.0]), *[by_site] * len(ROLES)).map(
        lambda parts: Readings(None, *parts)
    )
    return [
        StepRecord(
            step=step,
            seconds=float(step),
            loss=draw(st.none() | numbers),
            metrics=draw(st.dictionaries(st.text(max_size=5), numbers, max_size=2)),
            readings=draw(st.none() | measured),
        )
        for step in sorted(draw(st.sets(st.integers(0, 2**62), max_size=5)))
    ], places


def same(left: object, right: object) -> bool:
    return np.array_equal(np.asarray(left, float), np.asarray(right, float), True)


@settings(max_examples=40, deadline=None)
@given(runs())
def test_what_is_written_is_read(written: tuple[list[StepRecord], list[Site]]) -> None:
    records, places = written
    with TemporaryDirectory() as folder:
        writer = store.create(Path(folder, "run"), Header())
        for record in records:
            writer.add(record)
        writer.close("finished")
        assert writer.lost is None
        run = store.read(Path(folder, "run"))

    with_loss = [record for record in records if record.loss is not None]
    assert run.steps.tolist() == [record.step for record in with_loss]
    assert same(run.loss, [record.loss for record in with_loss])
    names = {name for record in records for name in record.metrics}
    assert set(run.metrics) == names
    for name in names:
        expected = [record.metrics.get(name, math.nan) for record in with_loss]
        assert same(run.metrics[name], expected)

    recorded = [record for record in records if record.readings is not None]
    assert run.recorded.tolist() == [record.step for record in recorded]
    assert run.finite.tolist() == [record.readings.finite == 1 for record in recorded]
    expected_keys = set()
    for role in ROLES:
        for place in places:
            stats = [
                getattr(r.readings, role).get(place, TensorStats()) for r in recorded
            ]
            for quantity in QUANTITIES:
                cells = [getattr(one, quantity) for one in stats]
                if any(cell is not None for cell in cells):
                    expected_keys.add((role, quantity, place))
                assert same(run.series(role, quantity, place), np.array(cells, float))
    assert set(run.readings) == expected_keys

    seen = {p: vars(p) for p in places}
    assert all(vars(site) == seen[site] for site in run.sites)
    assert {site for _, _, site in expected_keys} <= set(run.sites)


def test_a_nan_is_told_from_what_was_not_measured(tmp_path: Path) -> None:
    site = Site("x")
    values = {site: TensorStats(mean=math.nan, largest=math.inf)}
    writer = store.create(tmp_path / "run", Header())
    writer.add(
        StepRecord(0, 0.0, math.nan, {}, Readings(None, 0.0, values, {}, {}, {}, {}))
    )
    writer.close("finished")
    run = store.read(tmp_path / "run")
    assert set(run.readings) == {("value", "mean", site), ("value", "largest", site)}
    assert same(run.readings["value", "mean", site], [math.nan])
    assert same(run.readings["value", "largest", site], [math.inf])
    assert same(run.loss, [math.nan])


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.text(max_size=5)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=25, deadline=None)
@given(
    st.builds(
        Header,
        target=st.text(),
        command=st.text(),
        seed=st.integers(-(2**63), 2**63),
        watched=st.lists(st.text(max_size=4)).map(tuple),
        settings=st.dictionaries(st.text(max_size=4), json_values, max_size=3),
        versions=st.dictionaries(st.text(max_size=4), st.text(max_size=4)),
        started=st.text(),
    )
)
def test_the_header_is_read_as_written(header: Header) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "run")
        store.create(path, header).close("finished")
        assert store.read(path).header == header


def test_the_header_is_json_in_the_strictest_sense(tmp_path: Path) -> None:
    knobs = {"lr": math.inf, "decay": -math.inf, "x": math.nan, "path": Path("a")}
    header = Header(settings=knobs | {"name": "\udce9", "width": np.float64(2.5)})
    store.create(tmp_path / "run", header).close("finished")

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    text = (tmp_path / "run" / "run.json").read_text("utf-8")
    assert json.loads(text, parse_constant=refuse)["settings"] == {
        "lr": "Infinity",
        "decay": "-Infinity",
        "x": "NaN",
        "path": "a",
        "name": "\udce9",
        "width": 2.5,
    }


def test_text_that_is_not_unicode_is_stored_spelt_out(tmp_path: Path) -> None:
    site = Site("w\udcff", file="caf\udce9.py")
    writer = store.create(tmp_path / "run", Header())
    values = {site: TensorStats(mean=1.0, sample=np.ones(2, np.float32))}
    writer.add(StepRecord(0, 0.0, 1.0, {}, Readings(1.0, 1.0, values, {}, {}, {}, {})))
    writer.close("finished")
    assert writer.lost is None
    (read,) = store.read(tmp_path / "run").sites
    assert (read, read.file) == ("w\\udcff", "caf\\udce9.py")


def test_samples_stay_at_doubling_steps_and_at_the_last(tmp_path, record) -> None:
    for flushed in (False, True):
        path = tmp_path / f"flushed-{flushed}"
        writer = store.create(path, Header())
        for step in range(21):
            writer.add(record(step))
            if flushed:
                writer.flush()
        writer.close("finished")
        samples = store.read(path).samples
        assert [step for _, step in samples] == [0, 1, 2, 4, 8, 16, 20]
        assert all(
            same(elements, [step] * 4) for (_, step), elements in samples.items()
        )


def test_thinning_keeps_the_ends_the_fault_and_every_loss(tmp_path, record) -> None:
    writer = store.create(tmp_path / "run", Header())
    for step in range(1_000):
        writer.add(record(step, finite=float(step < 700), sample=False))
    writer.close("finished")
    run = store.read(tmp_path / "run", most=10)
    assert run.recorded.tolist() == [
        0, 111, 222, 333, 444, 555, 666, 699, 700, 777, 888, 999
    ]  # fmt: skip
    assert run.finite.tolist() == [True] * 8 + [False] * 4
    (activation,) = (site for site in run.sites if site == "hidden/sigmoid")
    assert same(run.series("value", "mean", activation), run.recorded)
    assert run.steps.tolist() == list(range(1_000))
    assert "Read 12 of 1,000 recorded steps." in run.notes
    whole = store.read(tmp_path / "run")
    assert len(whole.recorded) == 1_000
    assert whole.notes == ()


def test_a_step_added_again_is_replaced(tmp_path, record) -> None:
    writer = store.create(tmp_path / "run", Header())
    writer.add(record(0))
    writer.add(record(0)._replace(loss=9.0))
    writer.close("finished")
    assert store.read(tmp_path / "run").loss.tolist() == [9.0]


def test_notes_evaluations_and_status(tmp_path: Path) -> None:
    writer = store.create(tmp_path / "run", Header())
    for _ in range(2):
        writer.note("Half of the layers could not be seen.")
    writer.note("Another.")
    writer.evaluate(10, {"accuracy": 0.5})
    writer.evaluate(20, {"accuracy": math.nan, "loss": 2.0})
    writer.close("interrupted")
    writer.close("finished")
    run = store.read(tmp_path / "run")
    assert run.notes == ("Half of the layers could not be seen.", "Another.")
    assert run.status == "interrupted"
    steps, accuracy = run.evaluations["accuracy"]
    assert steps.tolist() == [10, 20]
    assert same(accuracy, [0.5, math.nan])


def test_a_finished_run_is_two_files(finished: Path) -> None:
    store.read(finished)
    assert {file.name for file in finished.iterdir()} == {"run.json", "run.sqlite"}
    connection = sqlite3.connect(finished / "run.sqlite")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()


def test_the_documented_queries_run_and_all_columns_are_documented(
    finished: Path,
) -> None:
    page = DOCUMENTATION.read_text("utf-8")
    connection = sqlite3.connect(finished / "run.sqlite")
    queries = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    assert len(queries) >= 3
    for query in queries:
        assert connection.execute(query).fetchall(), query
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    for (table,) in tables.fetchall():
        section = page.split(f"### `{table}`")[1].split("\n#")[0]
        for _, column, *_ in connection.execute(f"PRAGMA table_info({table})"):
            assert f"`{column}`" in section, (table, column)
    connection.close()


def test_importing_the_store_imports_no_jax() -> None:
    program = "import sys, nndiag.store; sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_run_is_read_by_the_text_of_its_path(finished: Path) -> None:
    assert store.read(str(finished)).path == finished
