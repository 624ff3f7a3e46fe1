"""The header of a run, ``run.json``: written once, when the run begins."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from nndiag.errors import RunError
from nndiag.records import Header
from nndiag.store.plain import plain
from nndiag.store.schema import DATABASE, HEADER, SCHEMA_VERSION

_LARGEST = 4 << 20  # bytes; a header of a few kilobytes is usual


def require_new(directory: Path) -> None:
    """Checks that nothing stands where a run directory is to be made.

    Raises:
        RunError: `directory` exists, and is not an empty directory.
    """
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise _in_the_way(directory)


def claim(directory: Path) -> None:
    """Makes a run directory for one run, though others may try at the same moment.

    Raises:
        RunError: `directory` exists, and is not an empty directory.
        OSError: it cannot be made.
    """
    require_new(directory)
    directory.mkdir(parents=True, exist_ok=True)
    try:
        (directory / DATABASE).touch(exist_ok=False)  # only one of them can make it
    except FileExistsError as error:
        raise _in_the_way(directory) from error


def _in_the_way(directory: Path) -> RunError:
    return RunError(
        f"{directory} already exists and is never overwritten; "
        f"choose another directory, or remove it first"
    )


def write_header(directory: Path, header: Header) -> None:
    """Write ``run.json``, whole or not at all.

    Settings that JSON does not know are stored as their `str`; non-finite numbers as
    ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``, since JSON has none.
    """
    document = {"schema": SCHEMA_VERSION} | {
        field.name: plain(getattr(header, field.name)) for field in fields(Header)
    }
    unfinished = directory / f"{HEADER}.part"
    unfinished.write_text(json.dumps(document, indent=2) + "\n", encoding="ascii")
    unfinished.replace(directory / HEADER)


def read_header(directory: Path) -> Header | None:
    """The header of a run, `None` if it has lost its ``run.json``.

    Raises:
        RunError: if the file cannot be read, or is not a header.
    """
    path = directory / HEADER
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST + 1)
        if len(raw) > _LARGEST:
            raise ValueError(f"it is larger than {_LARGEST >> 20} MiB")
        return _header(json.loads(raw))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(
            f"{path} is not the header of a run ({error}); "
            f"restore it, or move it away to read the run without its settings"
        ) from error


def _header(document: Any) -> Header:
    """The header in a parsed ``run.json``; what it does not mention is default."""
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")
    given = cast(dict[str, object], document)
    default = Header()
    known: dict[str, Any] = {}
    for field in fields(Header):
        expected = cast(type[object], type(getattr(default, field.name)))
        value = given.get(field.name, getattr(default, field.name))
        if expected is tuple and isinstance(value, list):
            value = tuple(str(entry) for entry in cast(list[object], value))
        if type(value) is not expected:
            raise ValueError(f"{field.name!r} is a {type(value).__name__}")
        known[field.name] = value
    return Header(**known)
