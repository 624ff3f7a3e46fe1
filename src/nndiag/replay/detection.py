"""What counts as a NaN or Inf that an equation made, and not merely handed on."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from nndiag.jaxprs import compat
from nndiag.jaxprs.primitives import ELEMENTWISE

REDUCTIONS = frozenset({"reduce_sum", "reduce_max", "reduce_min", "reduce_prod"})
STRUCTURAL = frozenset(
    [
        "broadcast_in_dim",
        "concatenate",
        "dynamic_slice",
        "dynamic_update_slice",
        "expand_dims",
        "gather",
        "pad",
        "reshape",
        "rev",
        "scatter",
        "slice",
        "split",
        "squeeze",
        "transpose",
    ]
)
"""They move elements and change none, whatever the dtype."""

_COMPARISONS = frozenset({"eq", "ne", "lt", "le", "gt", "ge"})
_SELECTIONS = STRUCTURAL | {
    "select_n",
    "clamp",
    "max",
    "min",
    "reduce_max",
    "reduce_min",
    "reduce_window_max",
    "reduce_window_min",
    "cummax",
    "cummin",
    "scatter-max",
    "scatter-min",
    "scatter_max",
    "scatter_min",
    "sort",
    "top_k",
}


def is_float(value: Any) -> bool:
    """Whether the elements of an array or literal can be NaN (a key's cannot)."""
    return _is_inexact(getattr(value, "dtype", None) or jnp.result_type(value))


@functools.lru_cache(maxsize=64)
def _is_inexact(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, np.inexact))


def host(value: Any) -> np.ndarray[Any, Any]:
    """A float array as NumPy sees it; on CPU this is no copy."""
    return np.asarray(value)


def is_finite(value: Any) -> bool:
    """Whether no element of an array or literal is NaN or Inf."""
    if not is_float(value):
        return True
    if isinstance(value, jnp.ndarray) and compat.is_far(value):
        return bool(jnp.isfinite(value).all())
    return bool(np.isfinite(host(value)).all())


def newborn(
    equation: Any,
    operands: Sequence[Any],
    given: Sequence[bool],
    result: Any,
    xp: Any = np,
) -> tuple[Any, Any]:
    """The elements of `result` that are NaN, and that are Inf, where none came in.

    For an elementwise equation the operands are looked at element by element, for a
    reduction row by row, else as wholes. NaN must not have come in for a NaN; neither
    NaN nor Inf for an Inf. A NaN that stands in the program as a literal counts as
    made where it is used, an Inf does not: masks are made of it.

    Args:
        equation: the equation.
        operands: its inputs.
        given: for each, whether a NaN in it stands in the program as a literal.
        result: one of its outputs, of a float dtype.
        xp: `numpy`, or `jax.numpy` inside a compiled program.
    """
    floats = [
        (atom, operand, literal)
        for atom, operand, literal in zip(equation.invars, operands, given, strict=True)
        if is_float(operand)
    ]
    nan, inf = xp.isnan(result), xp.isinf(result)
    for atom, operand, literal in floats:
        # Most results hold none, or none that is new: then the rest is known.
        if xp is np and not nan.any() and not inf.any():
            break
        came = _arriving(equation, atom, xp.isnan(operand), result, xp)
        if not literal:
            nan = nan & ~came
        came |= _arriving(equation, atom, xp.isinf(operand), result, xp)
        inf = inf & ~came
    return nan, inf


def _arriving(equation: Any, atom: Any, mask: Any, result: Any, xp: Any) -> Any:
    """For each element of the result, whether something marked came into it."""
    name = equation.primitive.name
    if name in ELEMENTWISE:
        return mask.reshape(mask.shape + (1,) * (result.ndim - mask.ndim))
    if name in REDUCTIONS:
        rank = len(atom.aval.shape)
        return mask.any(axis=tuple(axis - rank for axis in equation.params["axes"]))
    return mask.any()


def is_pole(equation: Any, operands: Sequence[Any], bad: Any) -> bool:
    """Whether an Inf is the value at a pole (log 0, 1/0), not an overflow."""
    name = equation.primitive.name
    if name in ("log", "log1p", "rsqrt", "atanh", "erf_inv", "lgamma", "digamma"):
        return True
    if name in ("div", "pow", "integer_pow"):
        base = host(operands[1] if name == "div" else operands[0])
        return bool((np.broadcast_to(base, bad.shape)[bad] == 0).all())
    return False


def fate(equation: Any, kind: str) -> str:
    """How a NaN or Inf ended in an equation none of whose results has it.

    Returns:
        `"selected"` if the equation only left it out, `"absorbed"` if it computed
        with it, `""` if it only asked whether it is there.
    """
    name = equation.primitive.name
    if name in _SELECTIONS:
        return "selected"
    if name == "is_finite":
        return ""
    if name in _COMPARISONS:
        left, right = equation.invars
        return "absorbed" if kind == "nan" and left is not right else ""
    return "absorbed"
