import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nndiag import store
from nndiag.errors import RunError
from nndiag.records import Header, Readings, Run, Site, StepRecord, TensorStats


def refusal(path: Path) -> str:
    """The one line that `read` refuses with."""
    with pytest.raises(RunError) as caught:
        store.read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_nothing_is_overwritten(tmp_path: Path, finished: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    before = {p: p.read_bytes() for p in [file, *finished.iterdir()]}
    for path in (file, finished):
        with pytest.raises(RunError, match="never overwritten; choose another"):
            store.create(path, Header())
    assert {p: p.read_bytes() for p in before} == before


def test_an_empty_directory_and_missing_parents_are_used(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "a" / "b" / "c"):
        store.create(path, Header()).close("finished")
        assert store.read(path).status == "finished"


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file/run cannot be written .*choose another"):
        store.create(tmp_path / "file" / "run", Header())


def test_what_is_not_a_run_directory(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "nowhere")
    assert "holds no run.sqlite" in refusal(tmp_path)
    (tmp_path / "file").write_text("")
    assert "is not a directory" in refusal(tmp_path / "file")
    (tmp_path / "run.sqlite").write_bytes(b"")
    assert "not a run directory" in refusal(tmp_path)
    (tmp_path / "run.sqlite").write_bytes(b"SQLite? no " * 1000)
    assert "file is not a database" in refusal(tmp_path)


def test_a_newer_schema_names_both_versions_and_says_upgrade(tampered) -> None:
    message = refusal(tampered("PRAGMA user_version = 7"))
    assert "schema 7" in message
    assert f"schema {store.SCHEMA_VERSION};" in message
    assert "upgrade nndiag" in message


def test_a_missing_header_is_told_in_a_note(finished: Path) -> None:
    (finished / "run.json").unlink()
    run = store.read(finished)
    assert run.header == Header()
    assert any("run.json is missing" in note for note in run.notes)
    assert len(run.steps) == 30


@pytest.mark.parametrize(
    "header",
    [
        "",
        "{",
        "[]",
        "3",
        '{"seed": "3"}',
        '{"seed": true}',
        '{"watched": "all"}',
        '{"settings": []}',
        '{"seed": ' + "9" * 5000 + "}",
        "[" * 100_000,
        " " * (5 << 20) + "{}",
        '{"command": "\xff"}',
    ],
)
def test_a_garbled_header(finished: Path, header: str) -> None:
    (finished / "run.json").write_text(header, "latin-1")
    assert "run.json is not the header of a run" in refusal(finished)


@pytest.mark.parametrize(
    "script",
    [
        "DROP TABLE note",
        "DROP TABLE step; CREATE VIEW step AS WITH RECURSIVE n(step) AS"
        " (SELECT 0 UNION ALL SELECT step + 1 FROM n) SELECT step, 0, 0 FROM n",
        "ALTER TABLE note ADD COLUMN more AS (zeroblob(1000000000))",
        "DELETE FROM status",
        "UPDATE status SET status = 'sleeping'",
        "UPDATE site SET kind = 'trap'",
        "UPDATE site SET shape = '[1, \"x\"]'",
        "UPDATE site SET shape = '" + "[" * 400 + "'",
        "UPDATE site SET shape = '{}'",
        "UPDATE site SET file = x'00ff'",
        "UPDATE site SET key = CAST(x'80ff' || key AS TEXT)",
        "UPDATE site SET line = 'x'",
        "DELETE FROM site",
        "UPDATE step SET loss = 'low' WHERE step = 3",
        "UPDATE step SET loss = x'00' WHERE step = 3",
        "UPDATE step SET seconds = 'soon'",
        "UPDATE metric SET value = 'high'",
        "UPDATE metric SET name = x'00'",
        "UPDATE evaluation SET step = 'late'",
        "UPDATE recorded SET finite = 'maybe'",
        "UPDATE reading SET mean = 'x' WHERE step = 3",
        "UPDATE reading SET site = 'x' WHERE step = 3",
        "UPDATE sample SET elements = x'000000'",
        "UPDATE sample SET elements = 'text'",
        "UPDATE sample SET elements = zeroblob(2000000)",
    ],
)
def test_tampered_tables(tampered, script: str) -> None:
    refusal(tampered(script))


def test_a_small_file_cannot_ask_for_gigabytes(tampered) -> None:
    path = tampered("""
        BEGIN;
        WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n LIMIT 40000)
        INSERT INTO site SELECT i, i, 'tap', '', '', i, 'float32', '[]', '', 0 FROM n;
        WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n LIMIT 40000)
        INSERT INTO reading (step, site, role, mean) SELECT i, i, 'value', 1 FROM n;
        INSERT INTO recorded SELECT step, 1 FROM reading WHERE step >= 100;
        COMMIT;
    """)
    run = store.read(path, most=40_000)
    assert len(run.recorded) == 40_000
    (note,) = (note for note in run.notes if "memory" in note)
    assert note.startswith("Did not read the mean of each value: ")
    assert ("value", "mean", "hidden/sigmoid") not in run.readings
    assert ("value", "saturated", "hidden/sigmoid") in run.readings


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "run"
    writer = store.create(path, Header())
    stats = {Site("a"): TensorStats(mean=1.0, sample=[1.0, 2.0])}
    for step in range(40):
        readings = Readings(1.0, 1.0, stats, stats, {}, {}, {})
        writer.add(StepRecord(step, 0.0, 1.0, {"m": 1.0}, readings))
    writer.close("finished")
    return path


@settings(max_examples=100, deadline=None)
@given(
    damage=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=9))),
    length=st.just(1.0) | st.floats(0, 1),
)
def test_a_damaged_database_is_read_or_refused(
    sound: Path, damage: list[tuple[float, bytes]], length: float
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(shutil.copytree(sound, Path(folder, "run")))
        raw = bytearray((path / "run.sqlite").read_bytes())
        for place, noise in damage:
            start = int(place * (len(raw) - 1))
            raw[start : start + len(noise)] = noise
        (path / "run.sqlite").write_bytes(raw[: int(length * len(raw))])
        try:
            assert isinstance(store.read(path), Run)
        except RunError as error:
            assert str(path) in str(error)
        store.list_runs(path.parent)
