"""Forward mode against reverse mode: the two must agree to rounding."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.errors import ProgramError
from nndiag.gradcheck.gradients import Gradient
from nndiag.gradcheck.point import Vector, silent
from nndiag.gradcheck.program import Program
from nndiag.jaxprs import compat, precision, widening
from nndiag.jaxprs.compat.rules import rule_source
from nndiag.jaxprs.widening import Reading
from nndiag.records import Duality

_EPS = 2.0**-52
_SAFETY = 64.0
_SAMPLES = 4


def compare_modes(
    program: Program, reverse: Gradient | None, direction: Vector
) -> Duality:
    """Jv by `jax.jvp` against g·v with g by `jax.grad`, both evaluated in float64.

    They may differ by 64·2⁻⁵²·‖(gᵢvᵢ)‖; where they differ by more, by 64 times what a
    pseudo-random error of 2⁻⁵² on every rounding makes of either.

    Args:
        program: the function.
        reverse: its gradient, `None` if it has none.
        direction: v.
    """
    if reverse is None:
        return _unknown("the function has no reverse mode")
    ruled = program.first("custom_vjp_call")
    if ruled is not None:
        name = rule_source(ruled).function
        return _unknown(f"there is no forward mode: {name} is a custom_vjp")
    try:
        forward = _Forward(program)
        first = forward(direction)
    except (ProgramError, TypeError) as error:
        return _unknown(f"there is no forward mode: {str(error).splitlines()[0]}")
    vector = program.point.vector
    parts = reverse(vector) * direction
    second = float(parts.sum())
    eps = max(reverse.eps, forward.eps)
    bound = _SAFETY * eps * float(np.linalg.norm(parts))
    if not abs(first - second) <= bound:
        moved = np.abs(reverse.blurs(vector) @ direction).max()
        seeds = range(1, _SAMPLES + 1)
        blur = max(abs(forward(direction, 0x5DEECE66D * n) - first) for n in seeds)
        bound += _SAFETY * (blur + float(moved)) * (eps / _EPS)
    return Duality(
        forward=first,
        reverse=second,
        bound=bound,
        agree=bool(abs(first - second) <= bound),
    )


def _unknown(note: str) -> Duality:
    nan = float("nan")
    return Duality(forward=nan, reverse=nan, bound=nan, agree=None, note=note)


class _Forward:
    """The directional derivative by `jax.jvp`, in float64."""

    def __init__(self, program: Program) -> None:
        self._point = program.point
        arrays = self._point.arrays

        def push(*values: Any) -> Any:
            primals, tangents = values[: len(arrays)], values[len(arrays) :]
            return jax.jvp(program.scalar, primals, tangents)[1]

        self._jaxpr = silent(program.trace(push, *arrays, *arrays))
        self.eps = precision.arithmetic(self._jaxpr)

    @functools.cached_property
    def _compiled(self) -> Any:
        def evaluate(vector: Any, along: Any, seed: Any, constants: Any) -> Any:
            point = self._point
            values = [*point.unflattened(vector), *point.unflattened(along)]
            reading = Reading() if seed is None else Reading(fuzz=_EPS, seed=seed)
            found = widening.evaluate(self._jaxpr, values, reading, constants=constants)
            return found[0]

        return jax.jit(evaluate)

    def __call__(self, direction: Vector, seed: int | None = None) -> float:
        with jax.enable_x64(True):
            found = self._compiled(
                jnp.asarray(self._point.vector),
                jnp.asarray(direction),
                None if seed is None else jnp.asarray(seed, jnp.int64),
                tuple(compat.constants(self._jaxpr)),
            )
            return float(np.asarray(found))
