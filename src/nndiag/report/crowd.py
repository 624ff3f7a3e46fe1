"""Hundreds of layers in a picture that has room for some: nothing extreme is lost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nndiag.records import Floats, Integers
from nndiag.report.layers import first_and_last
from nndiag.report.picture import Area, Line
from nndiag.report.thin import line
from nndiag.rules.measures import at_any

FEW = 24
"""More lines than these cannot be told apart."""

MANY = 48
"""More rows than these leave no room for their names."""

_COLUMNS = 200
"""Points of an area."""

_AT_EACH_END = 2
"""Rows that are drawn for being the lowest, and for being the highest."""


def spaced(count: int, shown: int) -> list[int]:
    """Evenly spaced positions, first and last among them.

    Example:
        >>> spaced(101, 5)
        [0, 25, 50, 75, 100]
    """
    return np.unique(np.linspace(0, count - 1, shown).round().astype(int)).tolist()


def fold_rows(
    names: Sequence[str], values: Floats, last: Floats
) -> tuple[list[str], Floats, Floats, int]:
    """Neighbouring rows folded into one that has the largest value of each.

    Args:
        names: of the rows, from input to output.
        values: of shape ``(rows, n)``, NaN where not measured.
        last: of each row, shape ``(rows,)``.

    Returns:
        Name of the first row of each fold, values, last values, and the rows in a fold.
    """
    size = -(-len(names) // MANY)
    starts = np.arange(0, len(names), size)
    return (
        [names[at] for at in range(0, len(names), size)],
        np.fmax.reduceat(values, starts, axis=0),
        np.fmax.reduceat(last, starts),
        size,
    )


def ends_of_bins(values: Floats) -> tuple[Integers, int]:
    """Positions of the lowest and the highest value of each stretch, in order.

    Args:
        values: of shape ``(rows,)``; not all NaN.

    Returns:
        The positions, at most `MANY`, first and last row among them; and the rows in a
        stretch.
    """
    size = -(-len(values) // (MANY // 2 - 1))
    kept = {0, len(values) - 1}
    for start in range(0, len(values), size):
        stretch = values[start : start + size]
        if not np.isnan(stretch).all():
            kept |= {
                start + int(np.nanargmin(stretch)),
                start + int(np.nanargmax(stretch)),
            }
    return np.array(sorted(kept)), size


def crowd(
    names: Sequence[str], values: Floats, steps: Integers
) -> tuple[tuple[Line, ...], tuple[Area, ...]]:
    """The median and the extremes of many rows as lines, all of them as areas.

    Args:
        names: of the rows, from input to output.
        values: of shape ``(rows, n)``, NaN where not measured; each row has a value.
        steps: of shape ``(n,)``.

    Returns:
        The lines, and the areas from the lowest to the highest, and from the 10th to
        the 90th of 100 rows. No extreme is thinned away; the quantiles are of the first
        step of each span.
    """
    measured = at_any(~np.isnan(values))
    steps, values = steps[measured], values[:, measured]
    starts = np.unique(np.linspace(0, len(steps), _COLUMNS + 1).astype(int)[:-1])
    tenth, middle, ninetieth = np.nanquantile(
        values[:, starts], (0.1, 0.5, 0.9), axis=0
    )
    low = np.fmin.reduceat(np.fmin.reduce(values, axis=0), starts)
    high = np.fmax.reduceat(np.fmax.reduce(values, axis=0), starts)
    order = np.argsort(first_and_last(values).last, kind="stable")
    ends = np.concatenate([order[:_AT_EACH_END], order[-_AT_EACH_END:]])
    extremes: list[int] = np.unique(ends).tolist()
    lines = tuple(
        line(names[at], steps, values[at], depth=at / (len(names) - 1))
        for at in extremes
    )
    median = line(f"median of {len(names):,}", steps[starts], middle, depth=0.5)
    return (*lines, median), (
        Area(steps=steps[starts], low=low, high=high),
        Area(steps=steps[starts], low=tenth, high=ninetieth),
    )
