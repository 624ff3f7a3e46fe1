"""Counts the elements of an array by their powers of two."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from nndiag.records import HIGHEST_POWER, HISTOGRAM_BINS, LOWEST_POWER

_FORMATS = {4: (jnp.int32, 23, 127), 8: (jnp.int64, 52, 1023)}
"""By bytes: an integer type as wide, the bits of the fraction, the exponent's bias."""


def log2_histogram(value: Any, layers: int = 0) -> Any:
    """How many elements have which ⌊log₂|x|⌋ (see `nndiag.records.HISTOGRAM_BINS`).

    The power is read off the bits of each element; the counts are added up where they
    belong, which on a CPU takes about four times as long as a norm.

    Args:
        value: an array of a floating-point type.
        layers: how many leading axes have a histogram for each of their entries.

    Returns:
        Counts as float32, of shape ``value.shape[:layers] + (HISTOGRAM_BINS,)``.

    Example:
        >>> counts = log2_histogram(jnp.array([0.0, 1.0, -1.5, 3.0]))
        >>> counts[0], counts[2 - LOWEST_POWER], counts[3 - LOWEST_POWER]
        (Array(1., dtype=float32), Array(2., dtype=float32), Array(1., dtype=float32))
    """
    value = jax.lax.stop_gradient(value)
    if value.dtype.itemsize < 4:
        value = value.astype(jnp.float32)
    kind, fraction, bias = _FORMATS[value.dtype.itemsize]
    bits = jax.lax.bitcast_convert_type(value, kind)
    power = ((bits >> fraction) & (2 * bias + 1)) - bias
    place = jnp.clip(power, LOWEST_POWER - 1, HIGHEST_POWER + 1) - LOWEST_POWER + 2
    place = jnp.where(power == bias + 1, HISTOGRAM_BINS - 1, place)
    place = jnp.where(value == 0, 0, place).astype(jnp.int32)
    shape = value.shape[:layers]
    rows = math.prod(shape)
    place = place.reshape(rows, -1) + HISTOGRAM_BINS * jnp.arange(rows)[:, None]
    counts = jnp.zeros(rows * HISTOGRAM_BINS, jnp.int32).at[place].add(1)
    return counts.astype(jnp.float32).reshape(*shape, HISTOGRAM_BINS)
