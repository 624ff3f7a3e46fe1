"""Which equations are only a wrapping of their body."""

from __future__ import annotations

from typing import Any

from nndiag.jaxprs import compat
from nndiag.jaxprs.primitives import WRAPPINGS


def wrapped(equation: Any) -> Any | None:
    """The body that `equation` stands for, with the same inputs and outputs."""
    held = WRAPPINGS.get(equation.primitive.name)
    return None if held is None else equation.params[held]


def size(jaxpr: Any) -> int:
    """Number of equations that one evaluation of `jaxpr` takes, loops unrolled."""
    total = 0
    for equation in compat.open_jaxpr(jaxpr).eqns:
        times = equation.params.get("length", 1)
        inner = sum(size(body) for body in compat.jaxprs_in(equation))
        total += max(1, times * inner)
    return total
