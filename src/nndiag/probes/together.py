"""Several reductions of arrays of one shape, in one pass where that is faster.

For a CPU, XLA makes a kernel of each reduction, and another one before it of all that
is reduced but an array itself, its square or its magnitudes. A reduction of several
arrays is a single kernel. But in it each addition waits for the one before, and the
sums are not made as a tree, in which float32 loses few digits. So rows are reduced
first, the halves of each side by side, and then what came of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

MOST = 1 << 13
"""Elements that are added one after another."""

HALVED = 1 << 18
"""Elements from which on the halves of rows are reduced side by side."""


def reduce_together(
    sums: Sequence[Any], maxima: Sequence[Any] = (), axes: Sequence[int] | None = None
) -> list[Any]:
    """Sums of some arrays, then the largest elements of others, NaN if there is one.

    Args:
        sums: arrays of one shape.
        maxima: more of them, none below 0.
        axes: over which to reduce; `None` for all.

    Example:
        >>> x = jnp.arange(4.0)
        >>> [float(one) for one in reduce_together([x, x * x], [x])]
        [6.0, 14.0, 3.0]
    """
    arrays = [*sums, *maxima]
    shape = arrays[0].shape
    over = tuple(range(len(shape))) if axes is None else tuple(axes)
    lengths = [shape[axis] for axis in over]
    rows = min(range(len(over)), key=lambda cut: _longest(lengths, cut), default=0)
    if not over or _longest(lengths, rows) > MOST or not _is_single_cpu():
        return [a.sum(over) for a in sums] + [a.max(over) for a in maxima]

    def combine(before: list[Any], more: list[Any]) -> list[Any]:
        pairs = list(zip(before, more, strict=True))
        added = [a + b for a, b in pairs[: len(sums)]]
        return added + [jnp.maximum(a, b) for a, b in pairs[len(sums) :]]

    def both(before: list[list[Any]], more: list[list[Any]]) -> list[list[Any]]:
        return list(map(combine, before, more))

    halved = math.prod(lengths) >= HALVED and lengths[rows] % 2 == 0
    split = [jnp.split(array, 1 + halved, over[rows]) for array in arrays]
    halves = _reduce(list(map(list, zip(*split, strict=True))), both, over[rows:])
    found = combine(*halves) if halved else halves[0]
    return _reduce(found, combine, over[:rows]) if rows else found


def _longest(lengths: Sequence[int], cut: int) -> int:
    return max(math.prod(lengths[:cut]), math.prod(lengths[cut:]))


def _reduce(arrays: Any, combine: Any, axes: Sequence[int]) -> Any:
    zeros = jax.tree.map(lambda array: jnp.zeros((), array.dtype), arrays)
    return jax.lax.reduce(arrays, zeros, combine, axes)


def _is_single_cpu() -> bool:
    """Of an array that is split over devices, the halves may lie on different ones."""
    return jax.default_backend() == "cpu" and jax.device_count() == 1
