"""The order of the Taylor remainder: 2 for a gradient that is the derivative."""

from __future__ import annotations

import numpy as np

from nndiag.gradcheck.differences import Along
from nndiag.gradcheck.point import Vector
from nndiag.records import Taylor

_COUNT = 16
_ABOVE = 30.0
"""A remainder counts if it is this many times larger than the noise."""


def fit_remainders(
    along: Along,
    base: float,
    direction: Vector,
    slope: float,
    scale: float,
    noise: float,
) -> Taylor:
    """Remainders |f(x + hv) − f(x) − h·g·v| over h, and the slope of their log–log fit.

    Args:
        along: values of the function at steps along a direction.
        base: f(x).
        direction: v.
        slope: g·v.
        scale: the step at which the point changes by about its own size.
        noise: of the function.
    """
    steps = np.asarray(scale * 2.0 ** -np.arange(2, 2 + _COUNT), np.float64)
    values = along(direction, steps)
    with np.errstate(invalid="ignore", over="ignore"):
        remainders = np.abs(values - base - steps * slope)
    counted = np.isfinite(remainders) & (
        remainders > _ABOVE * (noise + 2.0**-52 * np.abs(steps * slope))
    )
    order = float("nan")
    if counted.sum() >= 3:
        # The finest steps: there the leading term decides.
        chosen = np.flatnonzero(counted)[-8:]
        order = float(
            np.polyfit(np.log(steps[chosen]), np.log(remainders[chosen]), 1)[0]
        )
    return Taylor(
        steps=tuple(map(float, steps)),
        remainders=tuple(map(float, remainders)),
        order=order,
    )
