"""Which equations are only a wrapping of their body."""

from __future__ import annotations

from typing import Any

from nndiag.jaxprs import compat

_WRAPPINGS = {
    "jit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}


def wrapped(equation: Any) -> Any | None:
    """The body that `equation` stands for, with the same inputs and outputs."""
    held = _WRAPPINGS.get(equation.primitive.name)
    return None if held is None else equation.params[held]


def size(jaxpr: Any) -> int:
    """Number of equations that one evaluation of `jaxpr` takes, loops unrolled."""
    total = 0
    for equation in compat.open_jaxpr(jaxpr).eqns:
        times = equation.params.get("length", 1)
        inner = sum(size(body) for body in compat.jaxprs_in(equation))
        total += max(1, times * inner)
    return total
