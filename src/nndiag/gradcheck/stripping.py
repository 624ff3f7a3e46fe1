"""The function of a custom rule, without the rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.gradcheck.capturing import CUSTOM
from nndiag.jaxprs import compat
from nndiag.jaxprs.compat.rules import rule_source

_STEPS = frozenset({"round", "floor", "ceil", "sign", "argmax", "argmin", "nextafter"})
_COMPARISONS = frozenset({"gt", "ge", "lt", "le", "eq", "ne", "reduce_precision"})


def strip(jaxpr: Any, arguments: Sequence[Any]) -> list[Any]:
    """The outputs of `jaxpr`, with the users' custom rules in it taken off.

    A rule within a loop or a branch stays.
    """
    inner = compat.open_jaxpr(jaxpr)
    values = dict(zip(inner.invars, arguments, strict=True))
    values.update(zip(inner.constvars, compat.constants(jaxpr), strict=True))

    def read(atom: Any) -> Any:
        return compat.literal(atom) if compat.is_literal(atom) else values[atom]

    for equation in inner.eqns:
        operands = [read(atom) for atom in equation.invars]
        name = equation.primitive.name
        if name in CUSTOM and not rule_source(equation).of_library:
            outputs = strip(equation.params["call_jaxpr"], operands)
        elif name == "jit":
            outputs = strip(equation.params["jaxpr"], operands)
        else:
            outputs = compat.bind(equation, operands)
        values.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in inner.outvars]


def is_stepped(jaxpr: Any) -> bool:
    """Whether `jaxpr` rounds, compares or converts: its derivative may be 0."""
    for equation in _equations(jaxpr):
        if equation.primitive.name in _STEPS | _COMPARISONS:
            return True
        if equation.primitive.name == "convert_element_type":
            before = np.dtype(equation.invars[0].aval.dtype)
            after = np.dtype(equation.outvars[0].aval.dtype)
            if jnp.issubdtype(before, jnp.inexact) and after.itemsize < before.itemsize:
                return True
    return False


def coarsest(
    ruled: Callable[..., Any], bare: Callable[..., Any], values: Sequence[Any]
) -> float:
    """ε of the coarsest floating type that a rule or its function computes in."""

    def pulled(*inner: Any) -> Any:
        outputs, pull = jax.vjp(ruled, *inner)
        return pull([jnp.ones_like(output) for output in outputs])

    return max(
        (
            float(jnp.finfo(variable.aval.dtype).eps)
            for function in (bare, pulled)
            for equation in _equations(compat.trace(function, *values))
            for variable in equation.outvars
            if jnp.issubdtype(getattr(variable.aval, "dtype", int), jnp.inexact)
            and not getattr(variable.aval, "weak_type", False)
        ),
        default=float(jnp.finfo(jnp.float64).eps),
    )


def _equations(jaxpr: Any) -> Iterator[Any]:
    for equation in compat.open_jaxpr(jaxpr).eqns:
        yield equation
        for body in compat.jaxprs_in(equation):
            yield from _equations(body)
