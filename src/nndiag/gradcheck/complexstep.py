"""A derivative by a complex step, where the function is analytic.

Nothing is subtracted, so nothing cancels: the step is so short that there is no error
of truncation. What is left is rounding, of which the part that differs from point to
point is measured; differences must bear the result out within their own bound.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.gradcheck.differences import PLACES, Slope, noise_among
from nndiag.gradcheck.point import Vector
from nndiag.gradcheck.program import Program
from nndiag.jaxprs import compat, widening
from nndiag.jaxprs.stepping import NotAnalyticError
from nndiag.jaxprs.widening import Reading

_STEP = 2.0**-100
"""Its square is lost in the last place of any real part."""

_SPACING = 2.0**-26
"""Of the points at which the derivative's own noise is measured."""

_LAST_PLACES = 2.0**-49


def complex_step(program: Program) -> ComplexStep | None:
    """The complex step of a program, `None` if it does what no such step can pass."""
    names = [*program.dtypes, *(leaf.dtype for leaf in program.point.leaves)]
    if program.is_opaque or any(name.startswith("complex") for name in names):
        return None
    try:
        return ComplexStep(program)
    except NotAnalyticError:
        return None


class ComplexStep:
    """Derivatives of a program along directions, as Im f(x + ihv) / h.

    Raises:
        NotAnalyticError: the program has a primitive that no complex step can pass.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._compiled = program.compiled(self._at)
        vector = program.point.vector
        self._along(np.zeros_like(vector), PLACES, vector)

    def _at(self, vector: Any, direction: Any, constants: Any) -> Any:
        program = self._program
        moved = program.point.unflattened(vector + 1j * _STEP * direction)
        reading = Reading(stepped=True)
        found = widening.evaluate(program.jaxpr, moved, reading, constants=constants)
        return jnp.imag(found[0]) / _STEP

    def _along(self, direction: Vector, shifts: Vector, base: Vector) -> Vector:
        """Derivatives along a direction at `base` and beside it, shifted along it."""
        self._program.evaluations += len(shifts)
        constants = tuple(compat.constants(self._program.jaxpr))
        with jax.enable_x64(True):
            arrays = [jnp.asarray(array) for array in (base, direction, shifts)]
            return np.asarray(self._compiled(*arrays, constants))

    def sharpened(
        self, slope: Slope, base: Vector, direction: Vector, scale: float
    ) -> Slope:
        """A slope to nearly all digits, if the differences bear it out.

        Args:
            slope: by differences, which see kinks and jumps.
            base: the point.
            direction: of the slope.
            scale: the step at which the point changes by about its own size.
        """
        if slope.jump != 0:
            return slope
        values = self._along(direction, scale * _SPACING * PLACES, base)
        value, noise = float(values[PLACES == 0][0]), noise_among(values)
        # The step itself stands for truncation, h²·|f‴|/6, up to |f‴| = 6/h.
        bound = noise + _LAST_PLACES * abs(value) + _STEP
        if not abs(value - slope.value) <= slope.bound or bound >= slope.bound:
            return slope
        return dataclasses.replace(slope, value=value, bound=bound, sharpened=True)
