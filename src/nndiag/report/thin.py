"""Long series made short, without losing what stands out."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from nndiag.records import Floats, Integers
from nndiag.report.picture import Line, LineStyle

POINTS = 600
"""Points kept of a line: about one per unit of a picture's width."""

COLUMNS = 300
"""Columns kept of a heat map."""


def thin(
    steps: Integers, values: Floats, points: int = POINTS
) -> tuple[Integers, Floats]:
    """Keep the smallest and the largest value of each span, and both ends.

    NaN and Inf are dropped first. Every kept point is a point of the series, so no
    extreme is moved, smoothed or invented.

    Args:
        steps: of shape ``(n,)``.
        values: of shape ``(n,)``.
        points: at most that many points are kept, at least 4.

    Returns:
        Steps and values, of at most `points` points, in order.
    """
    finite = np.isfinite(values)
    steps, values = steps[finite], values[finite]
    if len(steps) <= points:
        return steps, values
    borders = np.linspace(0, len(steps), (points - 2) // 2 + 1).astype(int)
    kept = {0, len(steps) - 1}
    for start, stop in pairwise(borders):
        span = values[start:stop]
        kept.add(int(start + np.argmin(span)))
        kept.add(int(start + np.argmax(span)))
    index = np.array(sorted(kept))
    return steps[index], values[index]


def thin_columns(
    steps: Integers, values: Floats, columns: int = COLUMNS
) -> tuple[Integers, Floats]:
    """Keep the largest value of each span of columns.

    Args:
        steps: of shape ``(n,)``.
        values: of shape ``(rows, n)``, NaN where not measured.
        columns: at most that many are kept.

    Returns:
        First step of each span, and values of shape ``(rows, columns)``.
    """
    if len(steps) <= columns:
        return steps, values
    borders = np.linspace(0, len(steps), columns + 1).astype(int)[:-1]
    # fmax ignores NaN beside a number
    return steps[borders], np.fmax.reduceat(values, borders, axis=1)


def line(
    label: str,
    steps: Integers,
    values: Floats,
    *,
    depth: float = 0.0,
    style: LineStyle = "main",
) -> Line:
    """A line of a picture through what `thin` keeps; see `Line` for the arguments."""
    steps, values = thin(steps, values)
    return Line(label=label, steps=steps, values=values, depth=depth, style=style)
