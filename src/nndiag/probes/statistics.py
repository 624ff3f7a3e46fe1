"""Reduces arrays to `TensorStats`, reading each array as few times as possible."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from nndiag.jaxprs.marks import Mark
from nndiag.probes.activations import ACTIVATIONS, flatness
from nndiag.probes.level import Level
from nndiag.records import TensorStats

SAMPLE_SIZE = 256
"""Elements kept of each activation for pictures of its distribution."""


def describe_value(mark: Mark, level: Level, value: Any, *riders: Any) -> TensorStats:
    """Statistics of an input, an activation, logits or a tap.

    Args:
        mark: what the value is.
        level: what to measure.
        value: the array.
        *riders: the pre-activation, for an activation.
    """
    value = _float32(value)
    if not level.saturation:
        return TensorStats(largest=_largest(value) if level.overflow else None)
    units = jnp.moveaxis(value, mark.unit_axis, -1) if value.ndim else value[None]
    rows = units.reshape(-1, units.shape[-1])  # (batch, units)
    count = rows.size
    # Moments are taken about one element: exact where the mean is far from zero.
    pivot = rows[0, 0]
    shifted = rows - pivot
    first = shifted.sum(0).sum() / count
    second = jnp.square(shifted).sum(0).sum() / count
    mean = pivot + first
    variance = jnp.maximum(second - first * first, 0)
    zeros = (rows == 0).sum(0)  # (units,)
    stats = TensorStats(
        mean=mean,
        std=jnp.sqrt(variance),
        norm=jnp.sqrt(count * (variance + mean * mean)),
        largest=jnp.abs(rows).max(0).max(),
        zero=zeros.sum() / count,
        sample=_sample(value),
    )
    if mark.site.kind != "activation":
        return stats
    dead = (zeros == rows.shape[0]).mean()
    flat = flatness(mark.site.function, value, _float32(riders[0]))
    if flat is None:
        return stats._replace(
            saturated=jnp.zeros(()), dead_units=dead, saturated_units=jnp.zeros(())
        )
    slope, saturated = (
        jnp.moveaxis(x, mark.unit_axis, -1).reshape(rows.shape) for x in flat
    )
    per_unit = saturated.sum(0)  # (units,)
    fully = (per_unit == rows.shape[0]).mean()
    return stats._replace(
        saturated=per_unit.sum() / count,
        slope=slope.sum(0).sum() / count,
        dead_units=fully if ACTIVATIONS[mark.site.function].flat_at_zero else dead,
        saturated_units=fully,
    )


def describe_derivative(mark: Mark, level: Level, value: Any) -> TensorStats:
    """Norm of a cotangent or gradient; more of it if gradients are watched.

    Per-example gradients (a `jax.vmap` inside the watch) are averaged first, as the
    step will do.
    """
    value = _float32(value)
    if mark.role == "gradient":
        for _ in range(mark.batched):
            value = value.mean(0)
    stats = TensorStats(norm=norm(value), largest=_largest(value))
    if not level.gradients:
        return stats
    return stats._replace(zero=_flat(value == 0).sum(0).sum() / max(value.size, 1))


def describe_parameter(level: Level, value: Any) -> TensorStats:
    """Norm and largest magnitude of a parameter."""
    value = _float32(value)
    return TensorStats(
        norm=norm(value) if level.updates else None,
        largest=_largest(value) if level.overflow else None,
    )


def describe_update(before: Any, after: Any, gradient: Any | None) -> TensorStats:
    """Norm of the update θ′ − θ, and its cosine with the negative gradient −g.

    cos = −⟨θ′ − θ, g⟩ / (‖θ′ − θ‖ ‖g‖), 0 where either is zero.

    Args:
        before: the parameter θ.
        after: the parameter θ′ that the step returns.
        gradient: its gradient g, `None` if it is not at hand.
    """
    update = _float32(after) - _float32(before)
    size = norm(update)
    stats = TensorStats(norm=size, largest=_largest(update))
    if gradient is None:
        return stats
    product = _flat(update * _float32(gradient)).sum(0).sum()
    scale = size * norm(_float32(gradient))
    return stats._replace(
        cosine=jnp.where(scale > 0, -product / jnp.where(scale > 0, scale, 1), 0.0)
    )


def norm(value: Any) -> Any:
    """Euclidean norm √Σx²."""
    return jnp.sqrt(jnp.square(_flat(value)).sum(0).sum())


def _largest(value: Any) -> Any:
    """Largest magnitude; NaN if there is a NaN."""
    return jnp.abs(_flat(value)).max(0, initial=0).max()


def _flat(value: Any) -> Any:
    """The array as rows of up to 512: on CPU, sums over rows run in parallel lanes."""
    return value.reshape(-1, math.gcd(value.size, 512) or 1)


def _float32(value: Any) -> Any:
    """Statistics accumulate in float32, whatever the array's own type."""
    return jax.lax.stop_gradient(jnp.asarray(value, jnp.float32))


def _sample(value: Any) -> Any:
    """Evenly strided elements; the odd stride does not keep step with the units."""
    stride = max(value.size // SAMPLE_SIZE, 1) | 1
    flat = value.reshape(-1)[::stride]
    return flat[:SAMPLE_SIZE]
