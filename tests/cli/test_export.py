import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


def test_export_writes_the_table_and_says_where(
    nndiag: Command, store_run: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "table.csv"
    answer = nndiag("export", str(store_run()), "--to", "csv", "--out", str(out))
    assert answer == (0, f"{out}\n", "")
    assert out.read_text(encoding="utf-8").splitlines()[:3] == [
        "step,role,site,quantity,value,kind,layer,file,line",
        "0,run,,seconds,0.0,,,,0",
        "0,run,,loss,2.5,,,,0",
    ]


def test_export_for_tensorboard_says_how_to_look_at_it(
    nndiag: Command, store_run: Callable[..., Path]
) -> None:
    pytest.importorskip("tensorboardX")
    path = store_run("run 1")
    answer = nndiag("export", str(path), "--to", "tensorboard")
    assert answer.code == 0
    assert answer.out.endswith(f"Next: tensorboard --logdir '{path}/tensorboard'\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere", "--to", "csv"], ["nowhere", "does not exist"]),
        (["empty", "--to", "json"], ["empty", "holds no run.sqlite"]),
        (["a_file", "--to", "csv"], ["a_file", "not a directory"]),
        (["damaged", "--to", "csv"], ["damaged", "cannot be read"]),
        (["run-1", "--to", "xml"], ["'xml'", "'csv'", "'parquet'"]),
        (["run-1"], ["--to"]),
        (["run-1", "--to", "csv", "--out", "a_file"], ["a_file", "never overwritten"]),
        (
            ["run-1", "--to", "csv", "--out", "a_file/x"],
            ["a_file/x cannot be written", "File exists: 'a_file'"],
        ),
        (["run-1", "--to", "json", "--out", "empty"], ["empty", "never overwritten"]),
    ],
)
def test_bad_input_is_told_on_one_line(
    nndiag: Command,
    store_run: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    told: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    store_run()
    (tmp_path / "empty").mkdir()
    (tmp_path / "a_file").write_text("mine")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.sqlite").write_bytes(b"no database" * 100)
    before = sorted(tmp_path.rglob("*"))
    answer = nndiag("export", *words)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("nndiag: ") and answer.err.count("\n") == 1
    assert "unexpected" not in answer.err
    for part in told:
        assert part in answer.err
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "a_file").read_text() == "mine"


def test_export_needs_no_jax(store_run: Callable[..., Path]) -> None:
    program = (
        "import sys; sys.modules |= dict.fromkeys(['jax', 'jaxlib', 'optax']); "
        "from nndiag.cli import main; raise SystemExit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "export", str(store_run()), "--to", "json"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
