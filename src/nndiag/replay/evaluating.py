"""Evaluates one equation; what only moves elements, without compiling anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from nndiag.jaxprs import compat


def evaluate(equation: Any, operands: Sequence[Any]) -> list[Any]:
    """The outputs of an equation, as JAX computes them.

    Moving elements is exact, so NumPy may do it, and arithmetic with nothing but NaN
    has nothing but NaN for a result; a third of the kernels that a first replay would
    wait for are never compiled. Other arithmetic is left to JAX.
    """
    if lost := _lost(equation, operands):
        return lost
    move = _MOVES.get(equation.primitive.name)
    if move is None or not all(_is_near(operand) for operand in operands):
        return compat.bind(equation, operands)
    return [move(equation.params, *(np.asarray(operand) for operand in operands))]


def _lost(equation: Any, operands: Sequence[Any]) -> list[Any]:
    """The result of arithmetic with an array of NaNs alone, `[]` of all else."""
    if equation.primitive.name not in _ARITHMETIC:
        return []
    made = equation.outvars[0].aval
    for operand in operands:
        alike = getattr(operand, "dtype", None) == made.dtype
        if not alike or np.shape(operand) != made.shape or not _is_near(operand):
            continue
        values = np.asarray(operand)
        if values.size and values.dtype.kind == "f" and np.isnan(values).all():
            return [jax.device_put(np.full(made.shape, np.nan, made.dtype))]
    return []


def _is_near(operand: Any) -> bool:
    if isinstance(operand, np.ndarray):
        return True
    return (
        isinstance(operand, jax.Array)
        and isinstance(operand.dtype, np.dtype)
        and not compat.is_far(operand)
    )


def _broadcast(params: Any, operand: Any) -> Any:
    shape = [1] * len(params["shape"])
    for axis, length in zip(params["broadcast_dimensions"], operand.shape, strict=True):
        shape[axis] = length
    return np.broadcast_to(operand.reshape(shape), params["shape"])


def _slice(params: Any, operand: Any) -> Any:
    strides = params["strides"] or (1,) * operand.ndim
    bounds = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
    return operand[tuple(slice(*bound) for bound in bounds)]


def _select(params: Any, which: Any, *cases: Any) -> Any:
    if len(cases) == 2:
        return np.where(which.astype(bool), cases[1], cases[0])
    return np.take_along_axis(
        np.stack(cases), np.broadcast_to(which, cases[0].shape)[None], 0
    )[0]


_ARITHMETIC = frozenset({"add", "add_any", "sub", "mul", "div", "neg"})

_MOVES: dict[str, Callable[..., Any]] = {
    "broadcast_in_dim": _broadcast,
    "reshape": lambda params, operand: operand.reshape(params["new_sizes"]),
    "select_n": _select,
    "slice": _slice,
    "squeeze": lambda params, operand: operand.squeeze(params["dimensions"]),
    "transpose": lambda params, operand: operand.transpose(params["permutation"]),
}
