"""The header of a run: what was run, with what, on what."""

from __future__ import annotations

import dataclasses
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

from nndiag.records import Header

_PACKAGES = ("nndiag", "jax", "jaxlib", "numpy", "optax")


def describe(
    target: Any = None,
    *,
    name: str = "",
    seed: int = 0,
    every: int = 1,
    watched: tuple[str, ...] = (),
    steps_planned: int = 0,
    program: str | None = None,
) -> Header:
    """The header of a run that starts now, of `target` if there is one.

    `program` is the file whose revision counts, by default that of the target.
    """
    settings = getattr(target, "settings", None)
    return Header(
        target=name,
        command=" ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        seed=seed,
        every=every,
        watched=watched,
        steps_planned=steps_planned,
        settings=_plain(settings),
        versions=_versions(),
        device=_device(),
        git=_revision(program or _program(name)),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _plain(settings: Any) -> dict[str, Any]:
    """Settings as JSON can hold them."""
    if not dataclasses.is_dataclass(settings) or isinstance(settings, type):
        return {}
    kept = (bool, int, float, str, type(None))
    return {
        field.name: value if isinstance(value, kept) else str(value)
        for field in dataclasses.fields(settings)
        for value in [getattr(settings, field.name)]
    }


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _device() -> str:
    devices = jax.devices()
    kind = devices[0].device_kind
    return kind if len(devices) == 1 else f"{len(devices)} × {kind}"


def _program(name: str) -> str | None:
    """The file of a target, given by its import string, or of the script that runs."""
    place = name.partition(":")[0] or "__main__"
    module = Path(place).stem if place.endswith(".py") else place
    return getattr(sys.modules.get(module), "__file__", None)


def _revision(program: str | None) -> str:
    """Git revision of the source around a file, with "+" if it has changes."""
    if program is None:
        return ""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments],
            cwd=Path(program).absolute().parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        ).stdout.strip()

    try:
        revision = git("rev-parse", "--short=12", "HEAD")
        return revision + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return ""
