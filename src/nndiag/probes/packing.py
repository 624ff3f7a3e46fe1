"""Readings as one small array, which leaves the device in one piece."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from nndiag.probes.later import do_together, is_later
from nndiag.probes.stacked import Place, Stacked
from nndiag.records import ROLES, Readings


@dataclass(frozen=True)
class Layout:
    """How readings are laid out in one array.

    Attributes:
        structure: the pytree that they are the leaves of.
        places: where each leaf stands.
    """

    structure: Any
    places: tuple[Place, ...]

    @functools.cached_property
    def leaves(self) -> Readings:
        """The readings, with the number of its leaf in place of each array."""
        return self.structure.unflatten(range(len(self.places)))

    def unpack(self, numbers: Any, leaves: Any) -> Any:
        """A part of the readings in an array, whose leading axes become theirs."""
        return jax.tree.map(lambda leaf: self.places[leaf].take(numbers), leaves)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class PackedReadings:
    """`Readings`, held as one array until one of their attributes is looked at.

    A pytree with one leaf. It has the attributes of `Readings`: ``loss``, ``finite``,
    ``value``, ``cotangent``, ``parameter``, ``gradient``, ``update`` and ``examples``.
    A batch of another shape may be read at other places: the layout travels with the
    numbers, through JAX.

    Attributes:
        numbers: all that was read; `jax.vmap` and `jax.lax.scan` around the watched
            function give it leading axes.
        layout: how to read it.
    """

    numbers: Any
    layout: Layout = field(metadata={"static": True})

    @functools.cached_property
    def unpacked(self) -> Readings:
        """The readings, as a tuple of dictionaries."""
        return self.layout.unpack(self.numbers, self.layout.leaves)

    def __getattr__(self, name: str) -> Any:
        if name not in Readings._fields:
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
        value = self.layout.unpack(self.numbers, getattr(self.layout.leaves, name))
        self.__dict__[name] = value
        return value

    def __repr__(self) -> str:
        leaves = self.layout.leaves
        places = {site for role in ROLES for site in getattr(leaves, role)}
        return f"<readings at {len(places)} places>"


def pack(readings: Any) -> PackedReadings:
    """The readings of one step, or a part of them, as one array; traceable.

    Those that were put off (see `nndiag.probes.later`) are finished here, and stay
    side by side: to take them apart and put them in order would cost a kernel for each.
    """
    leaves, structure = jax.tree.flatten(readings, is_leaf=is_later)
    parts: list[Any] = []
    places: dict[int, Place] = {}
    end = 0
    rows: dict[int, int] = {}
    for number, leaf in enumerate(leaves):
        if isinstance(leaf, Stacked):
            whole = leaf.rows
            if id(whole) not in rows:
                rows[id(whole)] = end
                parts.append(jnp.ravel(whole))
                end += whole.size
            *outer, width = whole.shape
            start = rows[id(whole)]
            places[number] = leaf.place.within(start, tuple(outer), width)
        elif not is_later(leaf):
            parts.append(jnp.ravel(leaf))
            places[number] = Place(end, jnp.shape(leaf))
            end += parts[-1].size
    for results, members in do_together(leaves):
        parts.append(results)
        for number, start, shape in members:
            places[number] = Place(end + start, shape)
        end += results.size
    if not parts:
        parts.append(jnp.zeros(0))
    wide = any(part.dtype.itemsize > 4 for part in parts)
    dtype = jnp.result_type(jnp.float64 if wide else jnp.float32)
    numbers = jnp.concatenate([part.astype(dtype) for part in parts])
    layout = Layout(structure, tuple(places[number] for number in range(len(leaves))))
    return PackedReadings(numbers, layout)
