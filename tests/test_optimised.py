"""Runs the tests marked ``optimised``, with programs compiled as those of a user."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FILES = [
    str(file.relative_to(TESTS.parent))
    for file in sorted(TESTS.rglob("test_*.py"))
    if "@pytest.mark.optimised" in file.read_text("utf-8") and file != Path(__file__)
]


@pytest.mark.skipif(not os.environ["XLA_FLAGS"], reason="they are in this very run")
@pytest.mark.parametrize("file", FILES)
def test_they_pass(file: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    ended = subprocess.run(
        [*command, "-m", "optimised", file],
        cwd=TESTS.parent,
        env={**os.environ, "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_there_are_some() -> None:
    assert {"tests/session/test_law_one.py", "tests/test_examples.py"} < {*FILES}
