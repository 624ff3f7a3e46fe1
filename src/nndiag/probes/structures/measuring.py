"""What is measured of the structures of a network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from nndiag.jaxprs.marks import Mark
from nndiag.probes.later import Later
from nndiag.probes.statistics import wide
from nndiag.records import TensorStats

QUERIES = 256
"""Queries per head, at most, whose entropy is measured: evenly spaced ones."""

ELEMENTS = 65_536
"""Elements of a dropout mask, at most, that are counted: evenly spaced ones."""

MASKED = -1e8
"""Logits at or below are masked: −1e9 and the lowest number of a type are customary."""


class Layout(NamedTuple):
    """The axes of the weights of an attention, counted from the end.

    Attributes:
        keys: the axis that sums to one.
        heads: the axes that the readings keep, as one.
    """

    keys: int
    heads: tuple[int, ...]


def describe_structure(mark: Mark, value: Any, *riders: Any) -> TensorStats:
    """Statistics of an attention, a dropout or a residual branch.

    Args:
        mark: which it is, and its layout.
        value: the weights of the attention, the mask, or the branch.
        *riders: the logits of the attention, or the stream.
    """
    match mark.site.kind:
        case "attention":
            return _attention(mark, value, *riders)
        case "dropout":
            return _dropout(mark, value)
        case _:
            squares = [jnp.square(wide(one)).sum() for one in (value, riders[0])]
            size = Later((squares[0],), jnp.sqrt)
            return TensorStats(norm=size, ratio=Later(tuple(squares), _ratio))


def _attention(mark: Mark, weights: Any, logits: Any) -> TensorStats:
    """Entropy −Σ p ln p / ln n over n keys, and the largest logit, of each head.

    0 ln 0 = 0. The entropy is the mean over `QUERIES` queries; a smaller share would
    do, and all of them cost a logarithm for each weight. The largest logit is that of
    all queries: it is the largest of the maxima that the softmax computes itself.
    """
    layout: Any = mark.detail
    own = [axis for axis in range(weights.ndim) if axis not in mark.batched]
    keys, heads = own[layout.keys], [own[axis] for axis in layout.heads]
    rest = [axis for axis in range(weights.ndim) if axis not in (keys, *heads)]
    some = wide(_spaced(weights, rest, QUERIES))
    nats = -jnp.where(some > 0, some * jnp.log(some), 0).sum(keys, keepdims=True)
    count = weights.shape[keys]
    most = math.log(count) * nats.size / math.prod(nats.shape[head] for head in heads)
    largest = wide(logits.max(keys, keepdims=True)).max(rest)
    shape = (-1,) if heads else ()
    return TensorStats(
        entropy=Later((nats.sum(rest).reshape(shape), most), _share),
        largest=Later((largest.reshape(shape),), _unmasked),
    )


def _ratio(branch: Any, stream: Any) -> Any:
    return jnp.sqrt(branch) / jnp.sqrt(stream)


def _share(part: Any, whole: Any) -> Any:
    return jnp.clip(part / whole, 0, 1)


def _unmasked(largest: Any) -> Any:
    return jnp.maximum(largest, MASKED)


def _dropout(mark: Mark, mask: Any) -> TensorStats:
    some = _spaced(mask, range(mask.ndim), ELEMENTS)
    dropped = some == (not mark.detail)
    return TensorStats(zero=dropped.mean(dtype=jnp.float32))


def _spaced(value: Any, axes: Sequence[int], most: int) -> Any:
    """At most `most` evenly spaced entries over these axes; the longest give most."""
    excess = math.prod(value.shape[axis] for axis in axes) / most
    taken = [slice(None)] * value.ndim
    for axis in sorted(axes, key=lambda axis: -value.shape[axis]):
        stride = min(math.ceil(excess), value.shape[axis])
        if stride > 1:
            taken[axis] = slice(stride // 2, None, stride)
            excess /= stride
    return value[tuple(taken)]
