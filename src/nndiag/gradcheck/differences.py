"""Derivatives by differences, each with a measured bound of its error.

Along a direction v the central quotient D(h) = (f(x + hv) − f(x − hv)) / 2h is taken
at steps h that fall by a factor 8. It errs by c·h² (truncation), by the kinks between
−h and h, and by η/h, where η is the noise of f, measured. Richardson extrapolation,
(64·D(h/8) − D(h)) / 63, removes the first where the quotients fall off as a smooth
function's do. Of all steps the one is chosen whose error is smallest, as estimated from
its neighbours, and that all finer steps confirm within noise.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nndiag.gradcheck.point import Vector

_RATIO = 8.0
_STEPS = 8
_ODD = 0.7310585786300049
PLACES: Vector = _ODD * (np.arange(2 * _STEPS, dtype=np.float64) - _STEPS)
"""Of the points at which noise is measured, equally spaced around 0.

Their distance is no power of 2, or all of them would be rounded alike.
"""
_POWERS: Vector = np.asarray(_RATIO ** -np.arange(_STEPS), np.float64)
_COARSEST = 2.0**-2
_FINEST = 2.0**-48
_LARGEST = 2.0**4
_NOISE_ORDERS = (3, 4, 5)
_WIDENING = 2.0**8

Along = Callable[[Vector, Vector], Vector]


@dataclass(frozen=True)
class Slope:
    """A directional derivative by differences.

    Attributes:
        value: of the derivative.
        bound: of its error, as measured.
        jump: derivative to the right less derivative to the left, 0 where they agree
            as far as noise lets one see.
        step: the one that was chosen.
        noise: of the function, η.
        typical: largest slope, or difference of slopes, at any step.
        sharpened: whether a complex step gave the last digits.
    """

    value: float
    bound: float
    jump: float
    step: float
    noise: float
    typical: float = 0.0
    sharpened: bool = False


def measure(
    along: Along, base: float, direction: Vector, scale: float, noise: float
) -> Slope:
    """The derivative along `direction` at 0.

    Args:
        along: values of the function at given steps along a direction.
        base: the value at step 0.
        direction: the direction.
        scale: the step at which the point changes by about its own size.
        noise: of the function, as `function_noise` measures it.
    """
    top = scale * _COARSEST
    steps = top * _POWERS
    table = _Table(base, noise)
    table.add(along, direction, steps)
    best = table.best()
    while best.step >= steps[0] / _RATIO and steps[0] < _LARGEST:
        # Noise decides: coarser steps are better.
        steps = steps[0] * _RATIO**_STEPS * _POWERS
        steps = steps[steps <= _LARGEST * _RATIO]
        table.add(along, direction, _padded(steps))
        best = table.best()
    finest = table.finest
    unsettled = best.step <= finest * _RATIO**2 or best.jump != 0
    if unsettled and finest > scale * _FINEST:
        table.add(along, direction, finest / _RATIO * _POWERS)
        best = table.best()
    return best


def function_noise(
    along: Along, base: float, direction: Vector, spacing: float
) -> float:
    """Noise of a function near a point, at least half a unit in the last place.

    Args:
        along: values of the function at given steps along a direction.
        base: the value at step 0.
        direction: the direction.
        spacing: of the points; larger if most of them lie on one step of a staircase,
            as rounding makes where the function adds a large number.
    """
    widest = spacing * _WIDENING**5
    values = along(direction, spacing * PLACES)
    while np.mean(np.diff(values) == 0) > 0.5 and spacing < widest:
        spacing *= _WIDENING
        values = along(direction, spacing * PLACES)
    found = noise_among(values)
    return max(found, abs(base) * 2.0**-53, 2.0**-1000)


def noise_among(values: Vector) -> float:
    """Noise of a function, from its values at `PLACES` times a spacing.

    A smooth part of f vanishes from differences of order k; independent errors of
    standard deviation η leave √((2k)!/k!²)·η of themselves (Moré and Wild, "Estimating
    computational noise", SIAM J. Sci. Comput. 33, 2011).

    Returns:
        Three times the largest η over orders 3 to 5.
    """
    if not np.isfinite(values).all():
        return math.inf
    levels = [0.0]
    for order in _NOISE_ORDERS:
        gain = math.factorial(2 * order) / math.factorial(order) ** 2
        levels.append(float(np.sqrt(np.mean(np.diff(values, order) ** 2) / gain)))
    return 3 * max(levels)


class _Table:
    """Quotients at steps, coarse to fine."""

    def __init__(self, base: float, noise: float) -> None:
        self._base, self._noise = base, noise
        self._rows: dict[float, tuple[float, float]] = {}

    @property
    def finest(self) -> float:
        return min(self._rows)

    def add(self, along: Along, direction: Vector, steps: Vector) -> None:
        values = along(direction, np.stack([steps, -steps], 1).reshape(-1))
        with np.errstate(invalid="ignore", over="ignore"):
            for step, right, left in zip(steps, values[::2], values[1::2], strict=True):
                gap = (right - self._base) + (left - self._base)
                self._rows[float(step)] = ((right - left) / (2 * step), gap / step)

    @np.errstate(invalid="ignore", over="ignore")
    def best(self) -> Slope:
        steps = np.array(sorted(self._rows, reverse=True))
        quotients = np.array([self._rows[h][0] for h in steps])
        gaps = np.array([self._rows[h][1] for h in steps])
        noise = 1.5 * self._noise / steps
        found = [
            slope
            for k in range(2, len(steps))
            if (slope := self._at(k, steps, quotients, gaps, noise)) is not None
        ]
        if not found:
            return Slope(math.nan, math.inf, 0.0, float(steps[-1]), self._noise)
        best = min(found, key=lambda slope: slope.bound)
        known = np.abs([*quotients, *gaps])
        typical = float(known[np.isfinite(known)].max())
        return dataclasses.replace(best, typical=typical)

    def _at(
        self, k: int, steps: Vector, quotients: Vector, gaps: Vector, noise: Vector
    ) -> Slope | None:
        """The derivative from step `k` and the two before it."""
        first, second, third = quotients[k - 2 : k + 1]
        if not np.isfinite([first, second, third]).all():
            return None
        moved, earlier = abs(third - second), abs(second - first)
        if moved <= earlier / 16 + noise[k]:
            value = third + (third - second) / 63
            before = second + (second - first) / 63
            bound = abs(value - before) / 8 + moved / 63
        else:
            value, bound = third, moved
        jump = (8 * gaps[k] - gaps[k - 1]) / 7
        seen = 4.6 * noise[k]
        jump = jump if abs(jump) > seen + abs(gaps[k]) / 8 else 0.0
        # A jump too small to be seen would spoil the value as well.
        bound = 2 * bound + 2 * noise[k] + max(abs(jump), seen) / 2
        finer = np.isfinite(quotients[k + 1 :])
        apart = np.abs(quotients[k + 1 :] - value)[finer]
        if (apart > bound + 2 * noise[k + 1 :][finer] + abs(jump) / 2).any():
            return None
        return Slope(
            float(value), float(bound), float(jump), float(steps[k]), self._noise
        )


def _padded(steps: Vector) -> Vector:
    """Always the same number of steps, so that one compiled program serves."""
    fill = steps[-1] / _RATIO if steps.size else 1.0
    return np.concatenate([steps, np.full(_STEPS - steps.size, fill)])
