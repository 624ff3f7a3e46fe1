"""A cause in words, and how to write the line instead."""

from __future__ import annotations

from typing import NamedTuple

from nndiag.replay.rewriting import Change


class Place(NamedTuple):
    """Where an expression stands.

    Attributes:
        file: as in `Location`.
        line: from 1.
        column: from 1, 0 if unknown.
    """

    file: str
    line: int
    column: int


class Cause(NamedTuple):
    """Why an equation made a NaN or Inf.

    Attributes:
        text: a sentence or two, with the numbers.
        patterns: rewrites of a larger expression around the place, tried first.
        changes: rewrites of the very expression, tried next.
        advice: what to do where none of them applies.
        elsewhere: whether `changes` are for the line of the origin.
        place: what `changes` are for, if it is neither the birth nor its origin.
    """

    text: str
    patterns: tuple[Change, ...] = ()
    changes: tuple[Change, ...] = ()
    advice: str = ""
    elsewhere: bool = False
    place: Place | None = None


_TINY = {"float16": "6.2e-05", "float64": "1e-300", "complex128": "1e-300"}


def tiny(dtype: str) -> str:
    """A positive number near the smallest normal one, as it is written in source."""
    return _TINY.get(dtype, "1e-37")
