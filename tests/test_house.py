"""The house stands as drawn: imports go down, the dry wing is dry, files are short."""

import json
import pkgutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

import nndiag

ROOT = Path(__file__).resolve().parents[1]
DRY = (
    "errors",
    "notebook",
    "records",
    "store",
    "rules",
    "report",
    "render",
    "export",
    "cli",
)
JAX = {"jax", "jaxlib", "optax"}


def imported_by(program: str) -> set[str]:
    """The top-level modules that are loaded when a program has run."""
    ending = "\nimport json, sys\nprint('\\n' + json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program + ending],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=True,
    )
    names: list[str] = json.loads(done.stdout.splitlines()[-1])
    return {name.partition(".")[0] for name in names}


def modules_of(rooms: Iterable[str]) -> list[str]:
    """Every module in the rooms, by its full name."""
    prefixes = tuple(f"nndiag.{room}" for room in rooms)
    return [
        name
        for _, name, _ in pkgutil.walk_packages(nndiag.__path__, "nndiag.")
        if name.startswith(prefixes)
    ]


def test_the_dry_wing_imports_no_jax() -> None:
    modules = modules_of(DRY)
    assert len(modules) > 40
    assert not imported_by(f"import {', '.join(modules)}") & JAX


def test_a_wet_room_would_be_noticed() -> None:
    assert "jax" in imported_by("import nndiag.probes")


def test_help_imports_nothing_that_takes_long() -> None:
    program = "from nndiag.cli import main\nassert main(['run', '--help']) == 0"
    heavy = JAX | {"matplotlib", "numpy", "rich", "jinja2"}
    assert not imported_by(program) & heavy


def test_a_slow_command_would_be_noticed() -> None:
    program = "from nndiag.cli import main\nassert main(['explain', 'ND201']) == 0"
    assert {"numpy", "rich"} <= imported_by(program)


def test_imports_keep_the_contracts() -> None:
    pytest.importorskip("importlinter")
    command = "from importlinter.cli import lint_imports_command as lint; lint()"
    done = subprocess.run(
        [sys.executable, "-c", command, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("folder", ["src", "reports", "benchmarks"])
def test_files_are_at_most_300_lines(folder: str) -> None:
    lengths = {
        str(file.relative_to(ROOT)): len(file.read_text("utf-8").splitlines())
        for file in (ROOT / folder).rglob("*.py")
    }
    assert lengths
    assert {name: lines for name, lines in lengths.items() if lines > 300} == {}
