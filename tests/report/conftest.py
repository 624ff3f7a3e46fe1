"""The examples of `tests/render`, loaded by their paths: tests are no package."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


def load(name: str) -> ModuleType:
    """A module beside the tests of `render`."""
    path = Path(__file__).parents[1] / "render" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def example() -> ModuleType:
    """Runs made by hand, and what rules would say of them."""
    return load("example_run")


@pytest.fixture(scope="session")
def examples() -> ModuleType:
    """Autopsies made by hand."""
    return load("example_autopsy")


@pytest.fixture(scope="session")
def blocks() -> ModuleType:
    """Runs of networks of many layers, made by hand."""
    return load("example_blocks")
