"""Autopsies as JSON: written into a run, and read back whole or not at all."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar, cast, get_args

import numpy as np

from nndiag.records import Autopsy, Direction, Kind, Link, Operand
from nndiag.store.plain import plain, real
from nndiag.store.schema import LARGEST_CELL, SINCE, text

_MOST = 100
"""Autopsies to read of a run at most; one is usual."""

_PROGRAM = ("values", "reproduction")
"""What lives only as long as the program does."""

_DAMAGES = (
    sqlite3.DataError,
    ValueError,
    TypeError,
    OverflowError,
    RecursionError,
)

_Entry = TypeVar("_Entry")
_Word = TypeVar("_Word", bound=str)


def autopsy_document(autopsy: Autopsy) -> dict[str, Any]:
    """An autopsy in terms of JSON: its fields by name, nested alike.

    Numbers that JSON lacks are ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``. The
    replayed arrays and the reproduction are left out.

    Example:
        >>> from nndiag.records import Operand
        >>> bad = Operand(dtype="float32", shape=(2,), low=1.0, high=float("nan"))
        >>> found = Autopsy(
        ...     kind="inf",
        ...     primitive="exp",
        ...     file="model.py",
        ...     line=3,
        ...     column=9,
        ...     source="y = jnp.exp(x)",
        ...     direction="forward",
        ...     scope="",
        ...     path=(),
        ...     elements=((1,),),
        ...     count=1,
        ...     operands=(bad,),
        ...     result=bad,
        ... )
        >>> document = autopsy_document(found)
        >>> document["line"], document["operands"][0]["high"]
        (3, 'NaN')
        >>> read_document(document) == found  # a NaN equals none, not even itself
        False
        >>> read_document(document).operands[0].shape
        (2,)
    """
    return {
        field.name: _entry(getattr(autopsy, field.name))
        for field in fields(Autopsy)
        if field.name not in _PROGRAM
    }


def read_document(document: object) -> Autopsy:
    """The autopsy that `autopsy_document` wrote.

    Raises:
        ValueError: it is none; a field is missing, or not of its type.
    """
    known = _mapping(document)
    origin = known.get("origin")
    indent = known.get("indent")
    return Autopsy(
        kind=_one_of(known, "kind", get_args(Kind)),
        primitive=_text(known.get("primitive")),
        file=_text(known.get("file")),
        line=_integer(known.get("line")),
        column=_integer(known.get("column")),
        source=_text(known.get("source")),
        indent=None if indent is None else _integer(indent),
        direction=_one_of(known, "direction", get_args(Direction)),
        scope=_text(known.get("scope")),
        path=_all(_text, known.get("path")),
        elements=_all(_integers, known.get("elements")),
        count=_integer(known.get("count")),
        operands=_all(_operand, known.get("operands")),
        result=_operand(known.get("result")),
        origin=None if origin is None else read_document(origin),
        chain=_all(_link, known.get("chain")),
        reaches_output=_truth(known.get("reaches_output")),
        output=_text(known.get("output")),
        argument=_text(known.get("argument")),
        cause=_text(known.get("cause")),
        rewrite=_text(known.get("rewrite")),
        compiler=_truth(known.get("compiler")),
        notes=_all(_text, known.get("notes")),
    )


def insert_autopsy(connection: sqlite3.Connection, step: int, autopsy: Autopsy) -> None:
    """Store or replace the autopsy of a step.

    Raises:
        ValueError: it is too large to be read back.
    """
    document = json.dumps(autopsy_document(autopsy), allow_nan=False)
    if len(document) >= LARGEST_CELL:
        raise ValueError(f"its {len(document):,} bytes are more than {LARGEST_CELL:,}")
    connection.execute("INSERT OR REPLACE INTO autopsy VALUES (?, ?)", (step, document))


def read_autopsies(
    connection: sqlite3.Connection,
) -> tuple[dict[int, Autopsy], list[str]]:
    """The autopsies of a run by step, and a note on each that cannot be read."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < SINCE["autopsy"]:
        return {}, []
    autopsies: dict[int, Autopsy] = {}
    notes: list[str] = []
    steps = connection.execute(
        "SELECT step FROM autopsy ORDER BY step LIMIT ?", (_MOST,)
    ).fetchall()
    for (step,) in steps:
        try:
            # as bytes: text that is no UTF-8 would end the query, not this row
            (document,) = connection.execute(
                "SELECT CAST(document AS BLOB) FROM autopsy WHERE step = ?", (step,)
            ).fetchone()
            autopsies[step] = read_document(json.loads(document))
        except _DAMAGES as error:
            notes.append(
                f"The stored autopsy of step {step} is damaged and was left out "
                f"({type(error).__name__}: {text(str(error))[:200]})."
            )
    return autopsies, notes


def _entry(value: Any) -> Any:
    if isinstance(value, Autopsy):
        return autopsy_document(value)
    if isinstance(value, Operand | Link):
        return {
            entry.name: _entry(getattr(value, entry.name)) for entry in fields(value)
        }
    if isinstance(value, tuple | list):
        return [_entry(entry) for entry in cast(tuple[object, ...], value)]
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, np.bool_):
        return bool(cast(Any, value))
    # NumPy's numbers, and those that it does not know (bfloat16)
    return int(value) if hasattr(value, "__index__") else plain(float(value))


def _mapping(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError(f"{value!r:.40} is not an object")
    return cast(dict[str, object], value)


def _all(read: Callable[[object], _Entry], value: object) -> tuple[_Entry, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{value!r:.40} is not a list")
    return tuple(read(entry) for entry in cast(list[object], value))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.40} is not a text")
    return value


def _integer(value: object) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r:.40} is not an integer")
    return value


def _integers(value: object) -> tuple[int, ...]:
    return _all(_integer, value)


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r:.40} is neither true nor false")
    return value


def _one_of(known: dict[str, object], name: str, words: tuple[_Word, ...]) -> _Word:
    for word in words:
        if known.get(name) == word:
            return word
    raise ValueError(f"{name} is {known.get(name)!r:.40}")


def _operand(value: object) -> Operand:
    known = _mapping(value)
    return Operand(
        dtype=_text(known.get("dtype")),
        shape=_integers(known.get("shape")),
        low=real(known.get("low")),
        high=real(known.get("high")),
        nans=_integer(known.get("nans")),
        infs=_integer(known.get("infs")),
        values=_all(real, known.get("values")),
    )


def _link(value: object) -> Link:
    known = _mapping(value)
    return Link(
        kind=_one_of(known, "kind", get_args(Kind)),
        primitive=_text(known.get("primitive")),
        direction=_one_of(known, "direction", get_args(Direction)),
        file=_text(known.get("file")),
        line=_integer(known.get("line")),
        path=_all(_text, known.get("path")),
    )
