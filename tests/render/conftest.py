"""The examples, loaded by their paths: tests are no package."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

from nndiag.records import Autopsy, GradCheck
from nndiag.report import Report, build


def load(name: str) -> ModuleType:
    """A module beside this one."""
    path = Path(__file__).parent / f"{name}.py"
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
def autopsies() -> dict[str, Autopsy]:
    """Autopsies made by hand, by name."""
    return {name: make() for name, make in load("example_autopsy").ALL.items()}


@pytest.fixture(scope="session")
def example_checks() -> ModuleType:
    """How gradient checks are made by hand."""
    return load("example_gradcheck")


@pytest.fixture(scope="session")
def checks(example_checks: ModuleType) -> dict[str, GradCheck]:
    """Gradient checks made by hand, by name."""
    return {name: make() for name, make in example_checks.ALL.items()}


@pytest.fixture(scope="session")
def sick(example: ModuleType) -> Report:
    run = example.sick_run()
    return build(run, example.findings(run))


@pytest.fixture(scope="session")
def healthy(example: ModuleType) -> Report:
    return build(example.healthy_run(), ())


@pytest.fixture(scope="session")
def empty(example: ModuleType) -> Report:
    return build(example.empty_run(), ())


@pytest.fixture
def console() -> Callable[..., Console]:
    """A console of fixed size, deaf to the environment, that writes to memory."""

    def make(width: int = 80, *, terminal: bool = False, **how: object) -> Console:
        return Console(
            width=width,
            height=30,
            file=io.StringIO(),
            force_terminal=terminal,
            color_system=None,
            legacy_windows=False,
            _environ={},
            **how,  # type: ignore[arg-type]
        )

    return make


@pytest.fixture(scope="session")
def blocks() -> ModuleType:
    """Runs of networks of many layers, made by hand."""
    return load("example_blocks")
