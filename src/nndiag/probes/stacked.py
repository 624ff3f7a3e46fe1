"""Readings that stand side by side in the rows that a scan has stacked.

To take them apart, and to put them side by side again at the end, would cost XLA a
kernel for each. So it is only noted where each stands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray


class Place(NamedTuple):
    """Where the numbers of one array stand in a vector.

    Attributes:
        start: of the first entry.
        shape: of one entry, whose numbers stand together.
        lengths: of the axes along which there are many entries.
        strides: how far apart the entries are along each of these.
    """

    start: int
    shape: tuple[int, ...]
    lengths: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()

    @property
    def positions(self) -> NDArray[np.int64]:
        """The position of each number, shape ``(*lengths, *shape)``."""
        found = self.start + np.arange(math.prod(self.shape)).reshape(self.shape)
        for length, stride in zip(self.lengths[::-1], self.strides[::-1], strict=True):
            steps = stride * np.arange(length).reshape(-1, *(1,) * found.ndim)
            found = steps + found
        return found

    def take(self, numbers: Any) -> Any:
        """The array; leading axes of `numbers` become its own."""
        if self.lengths:
            return numbers[..., self.positions]
        part = numbers[..., self.start : self.start + math.prod(self.shape)]
        return part.reshape((*numbers.shape[:-1], *self.shape))

    def within(self, start: int, outer: tuple[int, ...], width: int) -> Place:
        """The place in a longer vector that holds many such vectors.

        Args:
            start: where the first of them begins.
            outer: lengths of the axes along which there are many.
            width: of one of them.
        """
        ends = (*outer[1:], width)
        strides = tuple(math.prod(ends[axis:]) for axis in range(len(outer)))
        return Place(
            start + self.start,
            self.shape,
            outer + self.lengths,
            strides + self.strides,
        )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Stacked:
    """An array that stands in rows among others.

    Attributes:
        rows: shape ``(*lengths, width)``.
        place: where it stands in one row.
    """

    rows: Any
    place: Place = field(metadata={"static": True})

    @property
    def array(self) -> Any:
        """The array, taken out."""
        return self.place.take(self.rows)


def shared(tree: Any) -> tuple[list[Any], Any]:
    """The leaves of a tree, each array once, and what makes the tree of them again.

    Example:
        >>> rows = np.ones(3)
        >>> leaves, build = shared({"a": rows, "b": rows})
        >>> len(leaves), sorted(build(leaves))
        (1, ['a', 'b'])
    """
    leaves, structure = jax.tree.flatten(tree)
    unique = {id(leaf): leaf for leaf in leaves}
    numbers = {key: number for number, key in enumerate(unique)}
    order = [numbers[id(leaf)] for leaf in leaves]

    def build(arrays: list[Any]) -> Any:
        return structure.unflatten([arrays[number] for number in order])

    return list(unique.values()), build
