"""Bad input to the real session: one clear line, exit code 2, nothing lost."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]

MODEL = """
import jax.numpy as jnp

class Model:
    def init(self, key):
        return {"params": jnp.ones(3)}

    def train_step(self, state, batch):
        return state, {"loss": batch @ state["params"]}

    def epoch(self, key):
        return jnp.ones((4, 2, 3))

vector_loss = Model()

class Headless:
    init = Model.init

headless = Headless()
no_target = 3
"""


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "bad_model.py").write_text(MODEL)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "a_file").write_text("nothing\n")
    (tmp_path / "digits").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "--preset", "rely"], ["'rely'", "'relu'"]),
        (["run", "--set", "dept=3"], ["'dept'", "'depth'"]),
        (["run", "--set", "depth=deep"], ["depth", "'deep'", "whole number"]),
        (["run", "--set", "activation=rely"], ["'rely'", "'relu'"]),
        (["run", "--data", "nowhere"], ["nowhere"]),
        (["run", "--data", "digits"], ["digits"]),
        (["run", "--data", "a_file"], ["a_file"]),
        (["run", "mnist_modle:target"], ["'mnist_modle'"]),
        (["run", "mnist_model:targte"], ["'targte'", "'target'"]),
        (["run", "missing.py:target"], ["missing.py"]),
        (["run", "broken:target"], ["broken", "ZeroDivisionError"]),
        (["run", "bad_model:no_target"], ["no init"]),
        (["run", "bad_model:headless"], ["no train_step", "epoch"]),
        (["run", "bad_model:vector_loss"], ["loss", "float32[2]", "scalar"]),
        (["run", "bad_model:vector_loss", "--preset", "x"], ["no presets", "'x'"]),
        (["run", "bad_model:vector_loss", "--set", "a=1"], ["no settings", "a"]),
        (["run", "--out", "digits/../a_file"], ["a_file"]),
        (["run", "--out", "a_file/run"], ["a_file"]),
        (["report", "nowhere"], ["nowhere"]),
        (["report", "digits"], ["digits"]),
        (["report", "a_file"], ["a_file"]),
        (["report", "a_file", "--json"], ["a_file"]),
    ],
)
def test_it_is_told_on_one_line(
    nndiag: Command, workplace: Path, words: list[str], told: list[str]
) -> None:
    before = sorted(workplace.rglob("*"))
    answer = nndiag(*words)
    assert answer.code == 2, answer
    assert answer.err.startswith("nndiag: ") and answer.err.count("\n") == 1
    assert "unexpected" not in answer.err
    for part in told:
        assert part in answer.err
    written = set(workplace.rglob("*")) - set(before)
    assert {path for path in written if "__pycache__" not in path.parts} == set()


def test_a_run_is_never_overwritten(
    nndiag: Command, store_run: Callable[..., Path]
) -> None:
    path = store_run("kept")
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    answer = nndiag("run", "--out", str(path))
    assert answer.code == 2
    assert "kept" in answer.err and answer.err.count("\n") == 1
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


def test_a_run_of_a_newer_schema_is_refused(
    nndiag: Command, store_run: Callable[..., Path]
) -> None:
    path = store_run()
    connection = sqlite3.connect(path / "run.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    answer = nndiag("report", str(path))
    assert answer.code == 2
    assert "99" in answer.err and answer.err.count("\n") == 1
