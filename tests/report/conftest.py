"""The example runs of `tests/render`, loaded by their path: tests are no package."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def example() -> ModuleType:
    """Runs made by hand, and what rules would say of them."""
    path = Path(__file__).parents[1] / "render" / "example_run.py"
    spec = importlib.util.spec_from_file_location("example_run", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
