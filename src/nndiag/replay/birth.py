"""A NaN or Inf where there was none: what causes are read from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from nndiag.jaxprs.location import Location
from nndiag.records import Direction, Kind


class Birth(NamedTuple):
    """An equation that put out a NaN or Inf that did not come in.

    Attributes:
        kind: what was made.
        equation: the equation of the jaxpr.
        operands: its inputs, as NumPy arrays.
        result: the output that is bad.
        bad: which elements of `result` are new NaN or Inf; of its shape.
        location: scope, file and line.
        column: the column, from 1, 0 if unknown.
        source: the line of source, stripped, `""` if it cannot be read.
        direction: forward or backward.
        path: the control flow around it.
        origin: the birth upstream whose value this one fell over.
        maker: from a variable of the same body (`equation.invars[i]`) to the equation
            that made it and the values that went into that one; `None` for an input or
            a constant of the body, or a literal.
        indent: characters stripped from the left of `source`.
    """

    kind: Kind
    equation: Any
    operands: tuple[Any, ...]
    result: Any
    bad: Any
    location: Location
    column: int
    source: str
    direction: Direction
    path: tuple[str, ...]
    origin: Birth | None
    maker: Callable[[Any], tuple[Any, Sequence[Any]] | None]
    indent: int = 0
