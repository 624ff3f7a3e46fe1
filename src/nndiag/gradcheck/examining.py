"""Holds a gradient against differences along one direction."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import numpy as np

from nndiag.gradcheck.complexstep import ComplexStep
from nndiag.gradcheck.differences import Slope, function_noise, measure
from nndiag.gradcheck.given import Given
from nndiag.gradcheck.gradients import Gradient
from nndiag.gradcheck.point import Leaf, Vector
from nndiag.gradcheck.program import Program

_SAFETY = 16.0
"""Rounding may move a gradient this many times further than its samples show."""

_SAFETY_OF_SHIFTS = 4.0
"""The same for what rounding of the numbers that stand in the function does."""

_SHARP = 1e-3
"""A derivative is decided where its bound is below this share of its typical size."""

_FAINT = 1e-7
"""… or below this share of the function's value per unit of the point, or of the
slopes that it has around."""


@dataclass(frozen=True)
class Comparison:
    """A gradient against differences along one direction.

    Attributes:
        given: gradient · direction.
        slope: by differences.
        rounding: what rounding can make of `given`.
        typical: size that gradient · direction has for random signs.
        faint: a slope so small that it counts as none.
    """

    given: float
    slope: Slope
    rounding: float
    typical: float
    faint: float

    @property
    def bound(self) -> float:
        """Difference that need not mean anything."""
        return self.slope.bound + self.rounding

    @property
    def error(self) -> float:
        """Gradient less derivative."""
        return self.given - self.slope.value

    @property
    def is_wrong(self) -> bool:
        """Whether they differ by more than the bound."""
        return bool(abs(self.error) > self.bound)

    @property
    def is_decided(self) -> bool:
        """Whether the bound is small enough to say that they agree."""
        sharp = max(_SHARP * self.typical, _SHARP * abs(self.slope.value), self.faint)
        return bool(np.isfinite(self.bound) and self.bound <= sharp)

    @property
    def bends(self) -> bool:
        """Whether the derivatives to both sides differ."""
        return self.slope.jump != 0


class Examiner:
    """Compares the gradient under test with differences, at a point.

    Attributes:
        program: the function.
        given: the gradient.
        vector: the point.
        gradient: the gradient there.
    """

    def __init__(
        self,
        program: Program,
        given: Given,
        autodiff: Gradient | None,
        vector: Vector,
        complex_step: ComplexStep | None = None,
    ) -> None:
        self._complex_step = complex_step
        self.program, self.given, self.vector = program, given, vector
        self._autodiff = autodiff
        values = given.at(vector)
        self.gradient, self._eps = values
        self._along = functools.partial(program.along, base=vector)
        self.base = float(self._along(np.zeros_like(vector), np.zeros(2))[0])
        self._noises: dict[str, float] = {}

    @functools.cached_property
    def blurs(self) -> Vector:
        """Samples of what rounding does to the gradient, `(samples, entries)`."""
        traced = self.given.gradient or self._autodiff
        if traced is None:
            return self._eps * np.abs(self.gradient)[None]
        return traced.blurs(self.vector) * (self._eps / 2.0**-52)

    @functools.cached_property
    def _shifts(self) -> Vector:
        """What rounding of numbers and data that stand in a program does to a gradient.

        A caller's gradient may hold those of the function in another precision. One by
        JAX shares them, and has others of its own: the 2/√π of the derivative of erf.
        """
        if not self.given.is_callers:
            traced, exact = self.given.gradient, self.program.numbers
        else:
            traced, exact = self._autodiff, frozenset[float]()
        if traced is None:
            return np.zeros((1, self.vector.size))
        return traced.shifts(self.vector, exact)

    def noise(self, leaf: Leaf) -> float:
        """Noise of the function as the elements of a leaf move."""
        if leaf.path not in self._noises:
            direction = np.zeros_like(self.vector)
            # Along equal signs, what two elements add might cancel.
            signs = np.random.default_rng(leaf.size).choice([-1.0, 1.0], leaf.size)
            direction[leaf.start : leaf.stop] = signs
            scale = self.program.point.scale(leaf)
            spacings = [2.0**-44] + [2.0**-22] * self.program.is_opaque
            found = max(
                function_noise(self._along, self.base, direction, scale * spacing)
                for spacing in spacings
            )
            part = slice(leaf.start, leaf.stop)
            shaken = np.linalg.norm(self.gradient[part] * self.vector[part])
            self._noises[leaf.path] = max(found, float(shaken) * 2.0**-53)
        return self._noises[leaf.path]

    def compare(self, leaf: Leaf, direction: Vector) -> Comparison:
        """The comparison along a direction whose entries are of the order of 1."""
        scale = self.program.point.scale(leaf)
        slope = measure(self._along, self.base, direction, scale, self.noise(leaf))
        if self._complex_step is not None:
            slope = self._complex_step.sharpened(slope, self.vector, direction, scale)
        product = self.gradient * direction
        typical = float(np.linalg.norm(product))
        compared = Comparison(
            given=float(product.sum()),
            slope=slope,
            rounding=4 * self._eps * typical,
            typical=typical,
            faint=_FAINT * max(abs(self.base) / max(scale, 1.0), slope.typical),
        )
        if not compared.is_wrong:
            return compared
        # Only now the costly question of what rounding can do.
        blurred = _SAFETY * float(np.abs(self.blurs @ direction).max())
        blurred += _SAFETY_OF_SHIFTS * float(np.abs(self._shifts @ direction).max())
        return dataclasses.replace(compared, rounding=compared.rounding + blurred)

    def quotient(self, direction: Vector, step: float) -> float:
        """The central quotient alone: two evaluations."""
        right, left = self._along(direction, np.array([step, -step]))
        return float(right - left) / (2 * step)

    def entry(self, leaf: Leaf, number: int) -> Comparison:
        """The comparison along one entry of a leaf."""
        return self.compare(leaf, self.unit(leaf, number))

    def unit(self, leaf: Leaf, number: int) -> Vector:
        """The direction of one entry of a leaf."""
        direction = np.zeros_like(self.vector)
        direction[leaf.start + number] = 1.0
        return direction

    def elsewhere(self, seed: int) -> Examiner:
        """The same at a nearby point in general position, off every kink."""
        point = self.program.point
        random = np.random.default_rng([seed, 20])
        moved = self.vector.copy()
        for leaf in point.checked:
            size = point.scale(leaf) * max(2.0**-10, 8 * point.eps(leaf))
            signs = random.choice([-1.0, 1.0], leaf.size)
            moved[leaf.start : leaf.stop] += (
                size * signs * random.uniform(0.5, 1, leaf.size)
            )
        vector, step = point.rounded(moved), self._complex_step
        return Examiner(self.program, self.given, self._autodiff, vector, step)
