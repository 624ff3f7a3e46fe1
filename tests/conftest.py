"""Golden files, what an output looked like last; and a store of compiled programs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

CACHE = "JAX_COMPILATION_CACHE_DIR"
_CACHE = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--overwrite",
        action="store_true",
        help="rewrite the golden files with what the tests produce; then read the diff",
    )


def pytest_configure(config: pytest.Config) -> None:
    """What one test compiled, the others load; the directory lasts for one session."""
    if not hasattr(config, "workerinput") and CACHE not in os.environ:
        config.stash[_CACHE] = tempfile.mkdtemp(prefix="nndiag-tests-")
        os.environ[CACHE] = config.stash[_CACHE]
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"


def pytest_unconfigure(config: pytest.Config) -> None:
    if _CACHE in config.stash:
        shutil.rmtree(config.stash[_CACHE], ignore_errors=True)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Compare a text with ``golden/<test>.txt`` beside the test's file."""
    path = Path(request.path).parent / "golden" / f"{request.node.name}.txt"

    def compare(text: str) -> None:
        text = "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
        if request.config.getoption("--overwrite"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return compare
