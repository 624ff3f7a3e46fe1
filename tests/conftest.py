"""Golden files, what an output looked like last; and how programs are compiled.

Compiling is most of what the tests do, so XLA leaves out what takes it long, and what
one test compiled, the others load. Tests that compare the bits of two programs are
marked ``optimised``; `test_optimised.py` runs them with the programs of a user.
``XLA_FLAGS= pytest`` runs all tests like that.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import version
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
    """Says how to compile, before JAX or another worker begins."""
    config.addinivalue_line("markers", "optimised: needs programs as users have them")
    os.environ.setdefault("XLA_FLAGS", " ".join(quick_flags()))
    if not hasattr(config, "workerinput") and CACHE not in os.environ:
        config.stash[_CACHE] = tempfile.mkdtemp(prefix="nndiag-tests-")
        os.environ[CACHE] = config.stash[_CACHE]
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"


def quick_flags() -> list[str]:
    flags = [
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
        "--xla_cpu_parallel_codegen_split_count=1",
    ]
    if version("jaxlib").startswith("0.10."):  # a later one ends at an unknown flag
        flags.append("--xla_cpu_use_fusion_emitters=false")
    return flags


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leaves tests marked ``optimised`` to `test_optimised.py`, which goes first."""
    items.sort(key=lambda item: item.path.name != "test_optimised.py")
    if os.environ["XLA_FLAGS"]:
        left = [item for item in items if item.get_closest_marker("optimised")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


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
