"""From the statistics of the shards of arrays to those of the whole arrays."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from nndiag.probes.harvest import Harvest, Key
from nndiag.probes.replication import Axes, Differing, Replication
from nndiag.records import TensorStats

if TYPE_CHECKING:
    from nndiag.probes.sharding import Shards


class Union(NamedTuple):
    """How to unite what was read in a `shard_map`.

    Attributes:
        replication: along which axes of the mesh what was read differs.
        shards: the `shard_map`.
        calls: numbers of the gradient calls that stand in it.
    """

    replication: Replication
    shards: Shards
    calls: set[int]


def unite(read: Harvest, union: Union) -> Harvest:
    """The harvest of the whole arrays.

    What is the same on all devices is taken from one. Of what differs, `norm` is
    √Σx², `largest` the maximum, `std` that of the whole, `ratio` the ratio of whole
    norms, a unit dead if it is so on all devices that have rows of its batch, and every
    other quantity the mean. Stacked copies keep their axis, in front.

    Args:
        read: each array with an axis in front for each axis of the mesh.
        union: how to unite it.
    """
    stats = {
        role: {
            key: united
            for key, own in by_key.items()
            if (united := _united(role, key, own, union)) is not None
        }
        for role, by_key in read.stats.items()
    }
    rank = len(union.shards.plan.names)
    losses = {
        call: _parts(loss, union.replication.loss(call), frozenset(), union).mean(
            (0, 1)
        )
        for call, loss in read.losses.items()
    }
    finite = [part.all(tuple(range(rank))) for part in read.finite]
    # Those of a device are of its own rows, and nobody knows which rows these are.
    return read._replace(stats=stats, losses=losses, finite=finite, examples={})


def _united(
    role: str, key: Key, stats: TensorStats, union: Union
) -> TensorStats | None:
    of = union.replication.of
    inner, differing = key[0] in union.calls, of(role, key)
    shards, scale = union.shards, 1.0
    if role in ("cotangent", "gradient") and inner:
        scale = 1 / shards.size(_objective(role, key, union))
    if role == "cotangent":
        value = of("value", key)
        if differing.axes - value.axes:
            return None  # parts of a sum that nobody makes
    elif role in ("gradient", "update"):
        parameter = of("parameter", key)
        parts = differing.axes - (parameter.axes - parameter.copies)
        summed = role == "update" or parts <= shards.summed.get(key, frozenset())
        differing = parameter if summed else differing
        if not summed:
            # Nobody summed the parts: their root mean square stands for the whole.
            scale *= shards.size(parts) ** 0.5
        elif role == "gradient" and parameter.copies <= parts:
            differing = differing._replace(
                axes=differing.axes - parameter.copies, copies=frozenset()
            )
    united = _quantities(stats, differing, union)
    if scale == 1:
        return united
    return united._replace(
        norm=_times(united.norm, scale), largest=_times(united.largest, scale)
    )


def _objective(role: str, key: Key, union: Union) -> Axes:
    """The axes over which a derivative is one of the sum of the scalar.

    Unchecked, what is the same on several devices counts as a copy on each, and the
    derivative by a copy is that of one device's scalar.
    """
    of = union.replication.of
    if union.shards.plan.checked:
        return union.replication.loss(key[0])
    primal = of("value" if role == "cotangent" else "parameter", key)
    every = frozenset(union.shards.plan.names)
    return every & (primal.axes | of(role, key).axes)


def _times(value: Any, scale: float) -> Any:
    return None if value is None else value * scale


def _quantities(stats: TensorStats, differing: Differing, union: Union) -> TensorStats:
    """Each quantity of the whole array."""
    if differing.copies:
        copies = differing.copies
        rest = Differing(differing.axes - copies, differing.units - copies)
        return _each_copy(stats, copies, rest, union)

    def parts(value: Any) -> Any:
        return _parts(value, differing.axes, differing.units, union)

    entries = {
        name: parts(value)
        for name, value in zip(TensorStats._fields, stats, strict=True)
        if value is not None
    }
    united = {name: _one(name, value, entries) for name, value in entries.items()}
    if stats.spread is not None:
        own = stats.spread.shape[len(union.shards.plan.names) :]
        united["spread"] = relative_range(stats.spread.reshape(-1, *own))
    return TensorStats(**united)


def _one(name: str, value: Any, entries: dict[str, Any]) -> Any:
    """A quantity of the whole array, from ``[data shards, unit shards, …]``."""
    match name:
        case "norm":
            return jnp.sqrt(jnp.square(value).sum((0, 1)))
        case "largest":
            return value.max((0, 1))
        case "std":
            means = entries["mean"]
            apart = jnp.square(means - means.mean((0, 1)))
            return jnp.sqrt((jnp.square(value) + apart).mean((0, 1)))
        case "ratio":
            branch = entries["norm"]
            # A branch of 0 says nothing of its stream.
            stream = jnp.where(branch > 0, branch / value, 0)
            whole = jnp.sqrt(jnp.square(stream).sum((0, 1)))
            return jnp.sqrt(jnp.square(branch).sum((0, 1))) / whole
        case "dead_units" | "saturated_units":
            return value.min(0).mean((0, -1))
        case "sample":
            count = value.shape[0] * value.shape[1]
            together = jnp.moveaxis(value, (0, 1), (-2, -1))
            return together.reshape(*value.shape[2:-1], -1)[..., ::count]
        case "histogram":
            return value.sum((0, 1))
        case "rows" | "units":
            return value[0, 0] if value.shape[:2] == (1, 1) else None
        case _:
            return value.mean((0, 1))


def _each_copy(
    stats: TensorStats, copies: Axes, rest: Differing, union: Union
) -> TensorStats:
    """The statistics of stacked copies, with one axis in front for all of them."""
    names = union.shards.plan.names
    held = [i for i, name in enumerate(names) if name in copies]

    def front(value: Any) -> Any:
        moved = jnp.moveaxis(value, held, range(len(held)))
        moved = moved.reshape(-1, *moved.shape[len(held) :])
        # An axis of one device in place of each that was moved.
        return jnp.expand_dims(moved, tuple(i + 1 for i in held))

    each = jax.vmap(lambda own: _quantities(own, rest, union))
    united = each(jax.tree.map(front, stats))
    return united._replace(spread=relative_range(united.norm))


def _parts(value: Any, axes: Axes, units: Axes, union: Union) -> Any:
    """The entries that differ, ``[data shards, unit shards, …]``; others from one."""
    names = union.shards.plan.names
    taken = tuple(slice(None) if name in axes else 0 for name in names)
    value = value[taken]
    left = [name for name in names if name in axes]
    across = [i for i, name in enumerate(left) if name in units]
    down = [i for i, name in enumerate(left) if name not in units]
    own = value.shape[len(left) :]
    rest = range(len(left), value.ndim)
    value = value.transpose([*down, *across, *rest])
    lengths = value.shape
    rows, columns = (
        math.prod(lengths[: len(down)]),
        math.prod(lengths[len(down) : len(left)]),
    )
    return value.reshape(rows, columns, *own)


def relative_range(values: Any) -> Any:
    """(max − min) / max over the first axis, 0 where all are 0."""
    largest = values.max(0)
    scale = jnp.where(largest > 0, largest, 1)
    return jnp.where(largest > 0, (largest - values.min(0)) / scale, 0 * largest)
