"""Which values of a program are a function of one other, element by element."""

from __future__ import annotations

from typing import Any

from nndiag.gradcheck.listing import Listing, Literal, Step
from nndiag.jaxprs import compat
from nndiag.jaxprs.primitives import ELEMENTWISE

_ELEMENTWISE = ELEMENTWISE | {"stop_gradient"}
_LINEAR = frozenset(["neg", "convert_element_type", "copy", "copy_p", "stop_gradient"])
_SCALED = frozenset(["add", "sub", "mul", "div"])
_CUSTOM = frozenset(["custom_jvp_call", "custom_vjp_call", "jit"])


def activations(listing: Listing) -> list[tuple[int, int]]:
    """Steps whose result y is a nonlinear function of one value x, and the number of x.

    x is the last value before y that is not itself an elementwise function of one
    value: the sum that goes into an activation. In σ(z) = 1 / (1 + exp(−z)), all of
    exp(−z), 1 + exp(−z) and σ(z) are such functions of z.

    Returns:
        Pairs of the index of a step and the number of x, last steps first: what an
        activation returns before what it computes on its way.
    """
    roots: dict[int, int] = {number: number for number in listing.inputs}
    curved: dict[int, bool] = {}
    fixed = set(listing.constants)
    found: list[tuple[int, int]] = []
    for index, step in enumerate(listing.steps):
        moving = [a for a in step.inputs if isinstance(a, int) and a not in fixed]
        if not moving:
            fixed.update(step.outputs)
            continue
        origins = {roots.get(number, number) for number in moving}
        if len(origins) == 1 and is_elementwise(step.equation):
            (origin,), (result,) = origins, step.outputs
            roots[result] = origin
            curved[result] = any(curved.get(n, False) for n in moving) or _bends(step)
            if curved[result]:
                found.append((index, origin))
        else:
            roots.update((number, number) for number in step.outputs)
    return found[::-1]


def is_elementwise(equation: Any) -> bool:
    """Whether the only output depends on its inputs element by element."""
    if len(equation.outvars) != 1:
        return False
    shape = equation.outvars[0].aval.shape
    if any(getattr(v.aval, "shape", None) not in ((), shape) for v in equation.invars):
        return False
    if equation.primitive.name in _CUSTOM:
        bodies = list(compat.jaxprs_in(equation))
        return all(is_elementwise(inner) for body in bodies for inner in body.eqns)
    return equation.primitive.name in _ELEMENTWISE


def _bends(step: Step) -> bool:
    name = step.equation.primitive.name
    if name in _LINEAR:
        return False
    if name in _SCALED:
        first, second = step.inputs
        if isinstance(second, Literal):
            return False
        return name == "div" or not isinstance(first, Literal)
    return True
