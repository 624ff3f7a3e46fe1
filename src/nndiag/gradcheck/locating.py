"""From a wrong leaf down to its wrong coordinates, by halving.

Along random signs v the error of a gradient g is R = g·v − D(v). With v split into two
halves, R splits into two; one quotient tells both, so each halving costs two
evaluations, and one wrong entry among 2ᵏ is found in 2k.
"""

from __future__ import annotations

import numpy as np

from nndiag.gradcheck.examining import Comparison, Examiner
from nndiag.gradcheck.point import Leaf, Vector

_TRIES = 3


def locate(
    examiner: Examiner,
    leaf: Leaf,
    comparison: Comparison,
    direction: Vector,
    *,
    most: int,
) -> dict[int, Comparison]:
    """Wrong entries of a leaf, the largest parts of the error first.

    Args:
        examiner: compares.
        leaf: the leaf.
        comparison: along `direction`; it is wrong.
        direction: within the leaf.
        most: stop after so many.

    Returns:
        Comparisons by entry, counted from the start of the leaf; those not wrong on
        their own are left out.
    """
    found: dict[int, Comparison] = {}
    rest = direction.copy()
    error, step, failures = comparison.error, comparison.slope.step, 0
    while len(found) < most and failures < _TRIES and abs(error) > comparison.bound:
        entry = _descend(examiner, rest, error, step)
        alone = examiner.entry(leaf, entry - leaf.start)
        if alone.is_wrong:
            found[entry - leaf.start] = alone
        else:
            failures += 1
        error -= rest[entry] * alone.error
        rest[entry] = 0.0
    return found


def _descend(examiner: Examiner, direction: Vector, error: float, step: float) -> int:
    """The entry that the larger half of the error leads to, again and again."""
    entries = np.flatnonzero(direction)
    while len(entries) > 1:
        first, second = np.array_split(entries, 2)
        half = np.zeros_like(direction)
        half[first] = direction[first]
        left = float(examiner.gradient @ half) - examiner.quotient(half, step)
        right = error - left
        entries, error = (first, left) if abs(left) >= abs(right) else (second, right)
    return int(entries[0])
