"""The whole path, with nothing in the place of the session."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nndiag.cli import main
from nndiag.store import read

Command = Callable[..., Any]

SMALL = ["--set", "depth=2", "--set", "width=8", "--every", "2", "--dpi", "40"]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run of twelve steps."""
    path = tmp_path_factory.mktemp("real") / "run"
    assert main(["run", *SMALL, "--steps", "12", "--out", str(path), "--quiet"]) == 0
    return path


def test_a_run_directory_holds_the_page_the_pictures_and_the_readings(
    stored: Path,
) -> None:
    assert {"report.html", "run.json", "run.sqlite", "figures"} <= {
        path.name for path in stored.iterdir()
    }
    run = read(stored)
    assert (run.status, len(run.steps), len(run.recorded)) == ("finished", 12, 6)
    assert run.header.settings["width"] == 8


def test_json_is_all_that_stdout_gets(nndiag: Command, tmp_path: Path) -> None:
    path = tmp_path / "run"
    words = ["run", *SMALL, "--steps", "12", "--out", str(path), "--json"]
    answer = nndiag(*words)
    document = json.loads(answer.out)
    assert document["run"]["steps"] == 12
    assert "step 1/12" in answer.err


@pytest.mark.parametrize(
    "environment",
    [
        {"FORCE_COLOR": "1", "NO_COLOR": "1"},
        {"TERM": "dumb"},
        {"COLUMNS": "80"},
    ],
)
def test_a_report_reads_well_without_colour_and_on_80_columns(
    nndiag: Command,
    stored: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("nndiag.render.save_figures", lambda *_, **__: [], raising=True)
    answer = nndiag("report", str(stored))
    assert answer.code == 0
    assert "\x1b[3" not in answer.out  # no colour; NO_COLOR leaves bold
    *lines, page, next_command, _ = answer.out.split("\n")
    assert max(map(len, lines)) <= 80
    assert str(stored / "report.html") in answer.out
    assert next_command or page


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_ctrl_c_ends_the_training_and_reports_as_far_as_it_got(tmp_path: Path) -> None:
    path = tmp_path / "run"
    command = [sys.executable, "-m", "nndiag", "run", *SMALL, "--out", str(path)]
    with subprocess.Popen(
        [*command, "--epochs", "100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert first.startswith("step 1/")
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert str(path / "report.html") in out
    assert (path / "report.html").is_file()
    assert read(path).status == "interrupted"
