"""An export is there whole or not at all, in little memory, and overwrites nothing."""

import csv
import sqlite3
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nndiag.errors import RunError, SettingError
from nndiag.export import FORMATS, write
from nndiag.store import stream

Store = Callable[..., Any]


@pytest.fixture(params=FORMATS)
def format(request: pytest.FixtureRequest) -> str:
    """Each format whose package is there."""
    package = FORMATS[request.param].package
    if package:
        pytest.importorskip(package)
    return request.param


def test_it_goes_into_the_run_directory_unless_told(
    store_numbers: Store, tmp_path: Path, format: str
) -> None:
    path = store_numbers().path
    inside = write(path, to=format)
    assert inside == path / FORMATS[format].name
    elsewhere = write(path, to=format, out=tmp_path / "new" / "place")
    assert inside.exists() and elsewhere == tmp_path / "new" / "place"
    assert {file.name for file in elsewhere.parent.iterdir()} == (
        {"place", "place.json"} if format == "csv" else {"place"}
    )


@pytest.mark.parametrize("obstacle", ["file", "folder", "dangling link"])
def test_what_exists_is_never_overwritten(
    store_numbers: Store, tmp_path: Path, format: str, obstacle: str
) -> None:
    out = tmp_path / "taken"
    if obstacle == "file":
        out.write_text("mine")
    elif obstacle == "folder":
        out.mkdir()
    else:
        out.symlink_to(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"taken already exists .* --out"):
        write(store_numbers().path, to=format, out=out)
    assert obstacle != "file" or out.read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_what_stands_beside_is_not_overwritten_either(
    store_numbers: Store, tmp_path: Path
) -> None:
    beside = tmp_path / "table.csv.json"
    beside.write_text("mine")
    with pytest.raises(RunError, match=r"table\.csv\.json already exists"):
        write(store_numbers().path, to="csv", out=tmp_path / "table.csv")
    assert beside.read_text() == "mine"
    assert not (tmp_path / "table.csv").exists()


@pytest.mark.parametrize("format", ["parquet", "tensorboard"])
def test_a_missing_package_is_told_with_the_command_that_installs_it(
    store_numbers: Store, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    monkeypatch.setitem(sys.modules, str(FORMATS[format].package), None)
    with pytest.raises(SettingError, match=rf'pip install "nndiag\[{format}\]"'):
        write(store_numbers().path, to=format)


def test_an_unknown_format_is_told_with_the_known_ones(store_numbers: Store) -> None:
    with pytest.raises(SettingError, match=r"'xml'.*tensorboard, csv, parquet, json"):
        write(store_numbers().path, to="xml")


def test_a_run_that_still_trains_is_exported_as_far_as_it_is(
    store_numbers: Store, format: str
) -> None:
    assert write(store_numbers(status=None).path, to=format).exists()


def test_a_damaged_run_leaves_nothing_behind(store_numbers: Store, format: str) -> None:
    path = store_numbers().path
    with sqlite3.connect(path / "run.sqlite") as connection:
        connection.execute("UPDATE evaluation SET value = 'many' WHERE name = 'loss'")
    connection.close()
    before = sorted(path.rglob("*"))
    with pytest.raises(RunError, match="cannot be read"):
        write(path, to=format)
    assert sorted(path.rglob("*")) == before


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files")
def test_a_full_disk_is_one_line_and_leaves_nothing_behind(
    store_numbers: Store, format: str
) -> None:
    path = store_numbers(steps=400).path
    before = sorted(path.rglob("*"))
    program = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))\n"
        "from nndiag.cli import main\n"
        "raise SystemExit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "export", str(path), "--to", format],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot be written (" in done.stderr and "File too large" in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(path.rglob("*")) == before


def test_no_recorded_step_is_left_out(store_numbers: Store) -> None:
    stored = store_numbers(steps=5_000)  # more recorded ones than `read` reads
    with write(stored.path, to="csv").open(encoding="utf-8", newline="") as file:
        steps = [
            int(row["step"])
            for row in csv.DictReader(file)
            if (row["role"], row["quantity"]) == ("gradient", "largest")
        ]
    assert steps == list(range(0, 5_000, 2))


def test_memory_does_not_grow_with_the_run(store_numbers: Store) -> None:
    def peak(steps: int) -> int:
        path = store_numbers(steps=steps).path
        tracemalloc.start()
        assert sum(1 for _ in stream(path)) > 7 * steps
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)
    assert peak(4_000) < 1.2 * peak(400)


def test_entries_come_by_step(store_numbers: Store) -> None:
    entries = list(stream(store_numbers().path))
    steps = [entry.step for entry in entries]
    assert steps == sorted(steps)
    first = {entry.step: entry.quantity for entry in reversed(entries)}
    assert set(first.values()) == {"seconds", "accuracy"}
    assert first.pop(12) == "accuracy"  # an evaluation of a step that is no step
