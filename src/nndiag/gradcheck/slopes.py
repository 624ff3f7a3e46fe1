"""The derivative in one coordinate, by differences from both sides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

_SHORTER = 4
_KINK = 1e-4


class Slope(NamedTuple):
    """A derivative by differences.

    Attributes:
        value: central difference.
        bound: how far it may be off.
        smooth: whether the derivatives from the left and from the right agree.
    """

    value: Any
    bound: float
    smooth: bool


def slope(
    along: Callable[[Any], list[Any]],
    value: Any,
    index: tuple[int, ...],
    weights: Sequence[Any],
    epsilon: float,
) -> Slope:
    """The derivative of Σ weights · f in the element `index` of one operand.

    The step is h = ε^⅓ max(1, |x|), and once more h / 4. One-sided derivatives of a
    smooth function differ by h·f″, which shrinks with h; at a kink or a jump it does
    not. Differences are taken output by output before they are summed, so that large
    outputs which do not move add no rounding.

    Args:
        along: the outputs of f, with a step added to the operand.
        value: the operand.
        index: the element.
        weights: one array for each output.
        epsilon: ε of the coarsest floating type that f computes in.
    """
    here = along(np.zeros_like(value))

    def difference(right: list[Any], left: list[Any]) -> Any:
        terms = zip(weights, right, left, strict=True)
        return sum(
            np.sum(np.asarray(w) * (np.asarray(a) - np.asarray(b))) for w, a, b in terms
        )

    central, gaps, spans = [], [], []
    for shorter in (1, _SHORTER):
        h = epsilon ** (1 / 3) * max(1.0, abs(value[index])) / shorter
        step = np.zeros_like(value)
        step[index] = h
        right, left = along(step), along(-step)
        rise, fall = difference(right, here) / h, difference(here, left) / h
        central.append(difference(right, left) / (2 * h))
        gaps.append(abs(rise - fall))
        spans.append(abs(rise) + abs(fall))
    bound = 4 * abs(central[0] - central[1]) + epsilon ** (2 / 3) * 50 * spans[1]
    kinked = gaps[1] > _KINK * spans[1] and gaps[1] > gaps[0] / 2
    smooth = bool(np.isfinite(central).all()) and not kinked
    return Slope(central[1], float(bound), smooth)
