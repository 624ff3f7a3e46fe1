"""Where a program bends, jumps, or cuts its gradient: read off its jaxpr."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.gradcheck.point import Vector
from nndiag.gradcheck.program import Program
from nndiag.gradcheck.reaching import reached
from nndiag.jaxprs import compat, widening

_NEAR = 1e-9
"""Operands closer than this, relative to their size, count as equal."""

_COMPARED = frozenset({"max", "min", "gt", "ge", "lt", "le", "eq", "ne"})
_BENT_AT_ZERO = frozenset({"abs", "sign", "sqrt", "cbrt", "rsqrt", "pow"})
_REDUCED = {
    "reduce_max": jnp.max,
    "argmax": jnp.max,
    "reduce_min": jnp.min,
    "argmin": jnp.min,
}
_ROUNDED = {"floor": 0.0, "ceil": 0.0, "round": 0.5}
_SHARP = _COMPARED | _BENT_AT_ZERO | {*_REDUCED, *_ROUNDED, "clamp", "sort"}

CUTS = {
    "stop_gradient": "stop_gradient cuts this path",
    "round": "round has no slope but steps",
    "floor": "floor has no slope but steps",
    "ceil": "ceil has no slope but steps",
    "sign": "sign has no slope but a step",
}
"""Primitives behind which autodiff's derivative is not the function's, on purpose."""


def find_ties(program: Program, vector: Vector) -> tuple[int, Vector | None]:
    """Ties at a point: at how many elements of the program a kink may lie.

    Returns:
        The number of elements at which operands of a maximum, a comparison, a rounding
        and their like are equal or nearly so; and by how much each entry of the vector
        moves them apart (the gradient of a weighted sum of the differences), `None`
        where autodiff cannot tell.
    """
    names = {equation.primitive.name for equation in program.equations}
    if not names & _SHARP:
        return 0, np.zeros_like(vector)
    constants = tuple(compat.constants(program.jaxpr))

    def ties(point: Any, constants: Any) -> tuple[Any, Any]:
        leaves = program.point.unflattened(point)
        _, total = widening.observed(
            program.jaxpr, leaves, _Observer(), 2, constants=constants
        )
        return total[1], total[0]

    with jax.enable_x64(True):
        point = jnp.asarray(vector)
        count = int(jax.jit(ties)(point, constants)[1])
        if not count:
            return 0, np.zeros_like(vector)
        try:
            moved, _ = jax.jit(jax.grad(ties, has_aux=True))(point, constants)
        except Exception:
            return count, None
        return count, np.asarray(moved)


def cuts(program: Program) -> list[frozenset[str]]:
    """For each checked leaf, the primitives of `CUTS` that it reaches."""

    def label(equation: Any) -> str | None:
        name = equation.primitive.name
        return name if name in CUTS else None

    return reached(program, label)


class _Observer:
    """Returns (number of ties, weighted sum of what is tied) of an equation."""

    def __init__(self) -> None:
        self._seen = 0

    def __call__(self, equation: Any, operands: Sequence[Any]) -> Any:
        name = equation.primitive.name
        if not operands or not _is_float(operands[0]):
            return None
        pairs: list[tuple[Any, Any]] = []
        if name in _COMPARED and equation.invars[0] is not equation.invars[1]:
            pairs = [(operands[0], operands[1])]
        elif name in _BENT_AT_ZERO:
            pairs = [(operands[0], jnp.zeros_like(operands[0]))]
        elif name == "clamp":
            pairs = [(operands[1], operands[0]), (operands[1], operands[2])]
        elif name in _ROUNDED:
            half = _ROUNDED[name]
            nearest = jnp.round(operands[0] - half) + half
            pairs = [(operands[0], jax.lax.stop_gradient(nearest))]
        elif name in _REDUCED:
            return self._reduced(equation, operands[0])
        elif name == "sort":
            axis = equation.params["dimension"]
            rows = jnp.sort(operands[0], axis)
            length = rows.shape[axis]
            first = jax.lax.slice_in_dim(rows, 0, length - 1, axis=axis)
            pairs = [(first, jax.lax.slice_in_dim(rows, 1, length, axis=axis))]
        if not pairs:
            return None
        return sum(self._tied(a, b) for a, b in pairs)

    def _tied(self, first: Any, second: Any) -> Any:
        first, second = jnp.broadcast_arrays(first, second)
        size = jnp.maximum(jnp.abs(first), jnp.abs(second))
        whole = jnp.max(jnp.where(jnp.isfinite(size), size, 0), initial=0.0)
        apart = first - second
        near = jnp.abs(apart) <= _NEAR * size + 1e-12 * whole
        return self._sum(near & jnp.isfinite(apart), apart)

    def _reduced(self, equation: Any, operand: Any) -> Any:
        axes = equation.params["axes"]
        top = _REDUCED[equation.primitive.name](operand, axes, keepdims=True)
        near = jnp.abs(operand - top) <= _NEAR * jnp.abs(top)
        near &= near.sum(axes, keepdims=True) > 1
        return self._sum(near, operand - jax.lax.stop_gradient(top))

    def _sum(self, near: Any, apart: Any) -> Any:
        """Weights that differ from element to element, so that no two ties cancel."""
        self._seen += 1
        number = jnp.arange(apart.size, dtype=jnp.float64).reshape(apart.shape)
        weight = 1 + 0.5 * jnp.cos(7 * number + self._seen)
        total = jnp.where(near, weight * apart, 0.0).sum()
        return jnp.stack([near.sum().astype(jnp.float64), total])


def _is_float(value: Any) -> bool:
    return jnp.issubdtype(value.dtype, jnp.floating)
