"""The whole path, with nothing in the place of the session."""

import json
import os
import re
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

STYLE = re.compile(r"\x1b\[([\d;]*)m")

MODEL = """
import jax, jax.numpy as jnp, nndiag, optax

def loss(weights, batch):
    for w in weights:
        batch = jax.nn.sigmoid(batch @ w)
    return jnp.square(batch - 0.5).mean()

target = nndiag.target(
    init=lambda key: [9 * jax.random.normal(key, (4, 4))] * 2,
    loss=loss,
    optimizer=optax.sgd(0.1),
    data=jnp.ones((24, 4)),
    batch_size=2,
)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The import string of a small target: 12 steps an epoch, two sigmoid layers."""
    file = tmp_path_factory.mktemp("model") / "small_model.py"
    file.write_text(MODEL)
    return f"{file}:target"


@pytest.fixture(scope="module")
def stored(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run of twelve steps."""
    path = tmp_path_factory.mktemp("real") / "run"
    words = ["run", model, "--every", "2", "--dpi", "40", "--out", str(path)]
    assert main([*words, "--quiet"]) == 0
    return path


def test_a_run_directory_holds_the_page_the_pictures_and_the_readings(
    stored: Path,
) -> None:
    assert {"report.html", "run.json", "run.sqlite", "figures"} <= {
        path.name for path in stored.iterdir()
    }
    run = read(stored)
    assert (run.status, len(run.steps), len(run.recorded)) == ("finished", 12, 6)


def test_json_is_all_that_stdout_gets(
    nndiag: Command, model: str, tmp_path: Path
) -> None:
    words = [
        "run",
        model,
        "--steps",
        "5",
        "--out",
        str(tmp_path / "run"),
        "--dpi",
        "40",
    ]
    answer = nndiag(*words, "--json")
    document = json.loads(answer.out)
    assert document["run"]["steps"] == 5
    assert "step 1/5" in answer.err


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
    monkeypatch.setattr(
        "nndiag.render.save_figures", lambda *_, **__: [], raising=False
    )
    answer = nndiag("report", str(stored))
    assert answer.code == 0
    text, styles = STYLE.sub("", answer.out), STYLE.findall(answer.out)
    assert set(styles) <= {"0", "1", "2"}  # bold and faint; no colour
    report, _, closing = text.partition("Report: ")
    assert max(map(len, report.splitlines())) <= 80
    assert closing.startswith(f"{stored / 'report.html'}\nNext:   nndiag ")


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_ctrl_c_ends_the_training_and_reports_as_far_as_it_got(
    model: str, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    options = ["--out", str(path), "--epochs", "1000000", "--dpi", "40"]
    with subprocess.Popen(
        [sys.executable, "-m", "nndiag", "run", model, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        ready, first = process.stdout.readline(), process.stdout.readline()
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert ready.startswith("making data and parameters ready")
    assert first.startswith("step 1/")
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert str(path / "report.html") in out
    assert (path / "report.html").is_file()
    assert read(path).status == "interrupted"
