"""Which examples of a batch pull hardest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nndiag.records.readings import Array

MOST_EXAMPLES = 8
"""Examples of a step that are kept: those with the largest part in the gradient."""


class Examples(NamedTuple):
    """The parts of the examples of one batch in the gradient, by their norms.

    Attributes:
        size: number of examples in the batch.
        median: of their norms.
        largest: of their norms; NaN or Inf where one of them is.
        positions: of those with the largest norms, from 0, the largest first.
        norms: theirs.
    """

    size: int
    median: float
    largest: float
    positions: tuple[int, ...]
    norms: tuple[float, ...]


def hardest(norms: Array) -> Examples:
    """The examples that pull hardest; a NaN counts as larger than all else.

    Args:
        norms: of each example of a batch, in its order.

    Example:
        >>> hardest(np.array([1.0, 4.0, 2.0])).positions
        (1, 2, 0)
    """
    values = np.ravel(np.asarray(norms, np.float64))
    rank = np.where(np.isnan(values), np.inf, values)
    # Of equal norms the first example comes first; NaN before Inf.
    order = np.lexsort((np.arange(len(values)), ~np.isnan(values), -rank))
    kept = order[:MOST_EXAMPLES]
    middle = np.sort(rank)[[(len(rank) - 1) // 2, len(rank) // 2]]
    return Examples(
        size=len(values),
        median=float(middle.mean()),
        largest=float(values[kept[0]]),
        positions=tuple(kept.tolist()),
        norms=tuple(values[kept].tolist()),
    )
