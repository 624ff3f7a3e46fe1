"""Readings as one small array, which leaves the device in one piece."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from nndiag.records import Readings


@dataclass(frozen=True)
class Layout:
    """How readings are laid out in one array.

    Attributes:
        structure: the pytree that they are the leaves of.
        shapes: the shape of each leaf.
    """

    structure: Any
    shapes: tuple[tuple[int, ...], ...]

    @functools.cached_property
    def starts(self) -> tuple[int, ...]:
        """Where each leaf begins, and where the last one ends."""
        starts = [0]
        for shape in self.shapes:
            starts.append(starts[-1] + math.prod(shape))
        return tuple(starts)

    @functools.cached_property
    def leaves(self) -> Readings:
        """The readings, with the number of its leaf in place of each array."""
        return self.structure.unflatten(range(len(self.shapes)))

    def unpack(self, numbers: Any, leaves: Any) -> Any:
        """A part of the readings in an array, whose leading axes become theirs."""

        def entry(leaf: int) -> Any:
            part = numbers[..., self.starts[leaf] : self.starts[leaf + 1]]
            return part.reshape((*numbers.shape[:-1], *self.shapes[leaf]))

        return jax.tree.map(entry, leaves)


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
        places = {site for by_site in self.layout.leaves[2:7] for site in by_site}
        return f"<readings at {len(places)} places>"


def pack(readings: Readings) -> PackedReadings:
    """The readings of one step as one array; traceable."""
    leaves, structure = jax.tree.flatten(readings)
    shapes = tuple(jnp.shape(leaf) for leaf in leaves)
    wide = any(jnp.result_type(leaf).itemsize > 4 for leaf in leaves)
    dtype = jnp.float64 if wide and jax.config.jax_enable_x64 else jnp.float32  # type: ignore[attr-defined]
    numbers = jnp.concatenate([jnp.ravel(leaf).astype(dtype) for leaf in leaves])
    return PackedReadings(numbers, Layout(structure, shapes))
