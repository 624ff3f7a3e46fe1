"""Reduces arrays to `TensorStats`, reading each array as few times as possible."""

from __future__ import annotations

import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.jaxprs.marks import Mark
from nndiag.probes.activations import ACTIVATIONS
from nndiag.probes.histograms import log2_histogram
from nndiag.probes.later import Later
from nndiag.probes.level import Level
from nndiag.probes.peaks import peak
from nndiag.probes.together import reduce_together
from nndiag.records import WORD, TensorStats, stride_of

SAMPLE_SIZE = 256
"""Elements kept of each activation for pictures of its distribution."""


def describe_value(
    mark: Mark, level: Level, value: Any, *riders: Any, apart: bool = False
) -> TensorStats:
    """Statistics of an input, an activation, logits, a tap or what is normalised.

    Args:
        mark: what the value is.
        level: what to measure.
        value: the array.
        *riders: the pre-activation, for an activation.
        apart: `dead_units` and `saturated_units` are to be 0 or 1 for each unit, as
            other rows of the batch are elsewhere.
    """
    value = wide(value)
    if not level.saturation:
        return TensorStats(largest=_largest(value))
    # Moments are taken about one element: exact where the mean is far from zero.
    pivot = value[(0,) * value.ndim]
    shifted = value - pivot
    *sums, largest = reduce_together([shifted, jnp.square(shifted)], [jnp.abs(value)])
    moments = pivot, *sums, value.size
    stats = TensorStats(
        mean=Later(moments, _mean),
        std=Later(moments, _std),
        norm=Later(moments, _norm),
        largest=largest,
    )
    if mark.site.kind in ("input", "normalisation"):
        return stats
    activation = ACTIVATIONS.get(mark.site.function)
    zeros = _count(value == 0)
    zero = Later((zeros, value.size), jnp.divide)
    stats = stats._replace(zero=zero, sample=_sample(value))
    if activation is None:
        return stats
    batch = tuple(a for a in range(value.ndim) if a != mark.units(value.ndim))
    rows = _count(activation.saturated(value, wide(riders[0])), batch)  # (units,)
    saturated = rows.sum(), value.size
    whole = value.size // rows.size
    units = (rows == whole).astype(jnp.float32)
    if not apart:
        units = Later((units.sum(), units.size), jnp.divide)
    each = None
    if level.units and not mark.batched:
        each = jnp.stack([value.mean(batch), rows / whole])
    if activation.derivative is None:
        slope = Later((*saturated, activation.peak), _level_slope)
    else:
        slopes = activation.derivative(value, wide(riders[0])).sum()
        slope = Later((slopes, value.size), jnp.divide)
    return stats._replace(
        saturated=Later(saturated, jnp.divide),
        slope=slope,
        dead_units=units if activation.flat_at_zero else None,
        saturated_units=units,
        units=each,
    )


def describe_operation(mark: Mark, value: Any, *riders: Any) -> TensorStats | None:
    """The largest number that an operation makes, or that its derivative does.

    `None` for what has another type than the operation's result: the derivative by
    what was cast is as wide as that was.

    Args:
        mark: its detail is the `nndiag.probes.peaks.Operation`.
        value: the marked operand or result, or the cotangent that was made of it.
        *riders: the other operands.
    """
    if mark.role != "value":
        same = str(jnp.result_type(value)) == mark.site.dtype
        return TensorStats(largest=_largest(wide(value))) if same else None
    operation: Any = mark.detail
    operands = [wide(operand) for operand in (value, *riders)]
    ordered = operands[::-1] if operation.second else operands
    return TensorStats(largest=peak(operation, jnp, *ordered))


def describe_derivative(mark: Mark, level: Level, value: Any) -> TensorStats:
    """Norm of a cotangent or gradient, and the largest magnitude if it is watched.

    Of the gradient of a table, which the detail of the mark says, also its rows.

    Per-example gradients (a `jax.vmap` inside the watch) are averaged first, as the
    step will do.
    """
    value = wide(value)
    if mark.role == "gradient" and mark.batched:
        value = value.mean(mark.batched)
        mark = mark._replace(batched=())
    axes = mark.inner(value.ndim)
    wanted = level.gradients or level.overflow
    exact = mark.role == "cotangent" or _overflows_early(mark)
    largest = _largest(value, axes) if wanted and exact else None
    rows = _rows(value) if mark.detail and level.gradients else None
    stats = TensorStats(norm=root(value, axes), largest=largest, rows=rows)
    if level.histograms and mark.role == "gradient":
        counts = log2_histogram(value, len(mark.site.axes))
        return stats._replace(histogram=counts)
    return stats


def _rows(table: Any) -> Any:
    """Which watched rows are not all zero: 16 bits in each number."""
    some = table[:: stride_of(len(table))]
    touched = (some != 0).any(tuple(range(1, some.ndim)))
    padded = jnp.pad(touched, (0, -len(touched) % WORD)).reshape(-1, WORD)
    return (padded * (1 << np.arange(WORD)).astype(np.float32)).sum(1)


def describe_parameter(mark: Mark, value: Any) -> TensorStats:
    """Norm of a parameter, and its largest magnitude in float16."""
    value = wide(value)
    axes = mark.inner(value.ndim)
    largest = _largest(value, axes) if _overflows_early(mark) else None
    return TensorStats(norm=root(value, axes), largest=largest)


def _overflows_early(mark: Mark) -> bool:
    """Whether the headroom of a large array needs its exact largest magnitude.

    The norm is at least that, and costs nothing more. With the range of float32 or
    bfloat16 the few bits between the two do not matter; with that of float16 they do.
    """
    return mark.site.dtype == "float16"


def describe_update(
    before: Any, after: Any, gradient: Any | None, layers: int = 0
) -> tuple[TensorStats, dict[str, Later]]:
    """Norm of the update θ′ − θ, and its cosine with the negative gradient −g.

    cos = −⟨θ′ − θ, g⟩ / (‖θ′ − θ‖ ‖g‖), 0 where either is zero.

    Args:
        before: the parameter θ.
        after: the parameter θ′ that the step returns.
        gradient: its gradient g, `None` if it is not at hand.
        layers: how many leading axes are over layers, each of which has its own.

    Returns:
        Both, and by role the norms ‖θ‖ and ‖g‖ that the same pass has found.
    """
    update = wide(after) - wide(before)
    axes = tuple(range(layers, update.ndim))
    if gradient is None:
        return TensorStats(norm=root(update, axes)), {}
    arrays = update, wide(gradient), wide(before)
    products = update * arrays[1], *map(jnp.square, arrays)
    inner, *squares = reduce_together(products, axes=axes)
    norm, *others = (Later((square,), jnp.sqrt) for square in squares)
    stats = TensorStats(norm=norm, cosine=Later((inner, *squares[:2]), _cosine))
    return stats, dict(zip(("gradient", "parameter"), others, strict=True))


def difference(before: Any, after: Any) -> Any:
    """The update of a parameter, in float32 at least."""
    return wide(after) - wide(before)


def is_finite(stats: TensorStats) -> Any:
    """Whether an array is finite, by its norm; of layers, each."""
    size: Any = stats.norm
    parts = size.operands if isinstance(size, Later) else (size,)
    return functools.reduce(operator.and_, map(jnp.isfinite, parts))


def root(value: Any, axes: tuple[int, ...] | None = None) -> Later:
    """Euclidean norm √Σx², over all axes or these."""
    return Later((jnp.square(value).sum(axes),), jnp.sqrt)


def _mean(pivot: Any, first: Any, second: Any, size: Any) -> Any:
    return pivot + first / size


def _variance(first: Any, second: Any, size: Any) -> Any:
    return jnp.maximum(second / size - jnp.square(first / size), 0)


def _std(pivot: Any, first: Any, second: Any, size: Any) -> Any:
    return jnp.sqrt(_variance(first, second, size))


def _norm(pivot: Any, first: Any, second: Any, size: Any) -> Any:
    mean = pivot + first / size
    return jnp.sqrt(size * (_variance(first, second, size) + mean * mean))


def _level_slope(saturated: Any, size: Any, peak: Any) -> Any:
    return peak * (1 - saturated / size)


def _cosine(inner: Any, update: Any, gradient: Any) -> Any:
    scale = jnp.sqrt(update) * jnp.sqrt(gradient)
    return jnp.where(scale > 0, -inner / jnp.where(scale > 0, scale, 1), 0.0)


def _largest(value: Any, axes: tuple[int, ...] | None = None) -> Any:
    """Largest magnitude; NaN if there is a NaN."""
    return jnp.abs(value).max(axes)


def _count(condition: Any, axes: tuple[int, ...] | None = None) -> Any:
    return condition.sum(axes, dtype=jnp.float32)


def wide(value: Any) -> Any:
    """The array in float32 at least, so that statistics accumulate in it."""
    dtype = jnp.result_type(value)
    wide = dtype if dtype.itemsize > 4 else jnp.float32
    return jax.lax.stop_gradient(jnp.asarray(value, wide))


def _sample(value: Any) -> Any:
    """Evenly strided elements; the odd stride does not keep step with the units.

    They are picked one by one: to flatten an array that is split over devices would
    bring it together on each of them.
    """
    stride = max(value.size // SAMPLE_SIZE, 1) | 1
    chosen = np.arange(0, value.size, stride)[:SAMPLE_SIZE]
    return value[np.unravel_index(chosen, value.shape)] if value.ndim else value[None]
