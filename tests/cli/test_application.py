import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest

from nndiag.errors import RunError

Command = Callable[..., Any]


def run_process(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nndiag", *words],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        **options,
    )


def test_no_words_show_the_help(nndiag: Command) -> None:
    bare, asked = nndiag(), nndiag("--help")
    assert bare == asked
    assert bare.code == 0 and bare.err == ""
    for command in ("run", "report", "list", "explain"):
        assert f"\n  {command} " in bare.out


def test_version(nndiag: Command) -> None:
    assert nndiag("--version") == (0, f"nndiag {version('nndiag')}\n", "")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["runn"], "Did you mean 'run'?"),
        (["run", "--evry", "3"], "--every"),
        (["run", "--watch-saturatoin"], "--watch-saturation"),
        (["run", "a:b", "c:d"], "c:d"),
        (["run", "--set"], "--set"),
        (["run", "--fail-on", "maybe"], "'maybe' is not one of 'never', 'warning'"),
        (["run", "--every", "often"], "--every is 'often'"),
        (["run", "--epochs", "1.5"], "--epochs is '1.5'"),
        (["run", "--steps", "many"], "--steps is 'many'"),
        (["run", "--seed", ""], "--seed is ''"),
        (["run", "--dpi", "fine"], "--dpi is 'fine'"),
        (["run", "--every", "0"], "--every is 0"),
        (["run", "--steps", "-1"], "--steps is -1"),
        (["run", "--set", "depth"], "--set is 'depth'; write key=value"),
        (["run", "--set", "=3"], "--set is '=3'; write key=value"),
        (["report"], "RUN"),
        (["explain"], "CODE"),
        (["explain", "ND999"], "ND109"),
        (["explain", "dead_unit"], "Did you mean ND102"),
        (["list", "nowhere"], "there is no folder nowhere"),
    ],
)
def test_bad_input_is_one_clear_line(
    nndiag: Command, session: object, words: list[str], told: str
) -> None:
    answer = nndiag(*words)
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith("nndiag: ")
    assert answer.err.count("\n") == 1
    assert told in answer.err


def test_an_error_of_many_lines_is_told_on_one(nndiag: Command, session: Any) -> None:
    session.error = RunError("the run\n\x1b[31mis\tlost")
    assert nndiag("run") == (
        2,
        "the target talks\nthe live view\n",
        ("nndiag: the run [31mis lost\n"),
    )


def test_an_unexpected_error_names_itself_and_the_way_to_its_traceback(
    nndiag: Command, session: Any
) -> None:
    session.error = ZeroDivisionError("division by zero")
    answer = nndiag("report", "run-1")
    assert answer.code == 2
    assert answer.err == (
        "nndiag: unexpected ZeroDivisionError: division by zero; "
        "nndiag --debug … shows the traceback\n"
    )


def test_debug_shows_the_traceback_before_the_line(
    nndiag: Command, session: Any
) -> None:
    session.error = RunError("the run is lost")
    answer = nndiag("--debug", "report", "run-1")
    assert answer.code == 2
    assert answer.err.startswith("Traceback (most recent call last):\n")
    assert answer.err.endswith("\nnndiag: the run is lost\n")


def test_an_interrupt_outside_training_ends_with_130(
    nndiag: Command, session: Any
) -> None:
    session.error = KeyboardInterrupt()
    answer = nndiag("report", "run-1")
    assert (answer.code, answer.out) == (130, "")
    assert "Traceback" not in answer.err


def test_the_module_is_the_command_and_its_exit_code_reaches_the_shell() -> None:
    done = run_process("explain", "ND999")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("nndiag: There is no finding 'ND999'.")


def test_a_pipe_that_knows_no_unicode_gets_the_text_all_the_same() -> None:
    done = run_process("explain", "ND201", env={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "ratio = ??L/?a_first?" in done.stdout
