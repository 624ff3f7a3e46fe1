"""Readings as one small array, which leaves the device in one piece."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from nndiag.records import Readings
from nndiag.session.reduction import reduce_readings


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Packed:
    """Readings as one array, and how to read them.

    A batch of another shape may be read at other places: the layout travels with the
    numbers, through JAX.

    Attributes:
        numbers: those of a step, or a row for each recorded step.
        structure: the pytree that they are the leaves of.
        shapes: the shape of each leaf.
    """

    numbers: Any
    structure: Any = field(metadata={"static": True})
    shapes: tuple[tuple[int, ...], ...] = field(metadata={"static": True})

    def unpack(self, row: int) -> Readings | None:
        """The readings of a recorded step, as floats and NumPy arrays.

        Returns:
            `None` if nothing was measured.
        """
        numbers, plain = self.numbers[row], self.numbers[row].tolist()
        leaves: list[Any] = []
        position = 0
        for shape in self.shapes:
            size = math.prod(shape)
            if shape:
                leaves.append(numbers[position : position + size].reshape(shape))
            else:
                leaves.append(plain[position])
            position += size
        return reduce_readings(self.structure.unflatten(leaves))


def pack(readings: Readings) -> Packed:
    """The readings of one step, in float32; traceable."""
    leaves, structure = jax.tree.flatten(readings)
    numbers = jnp.concatenate([leaf.ravel().astype(jnp.float32) for leaf in leaves])
    return Packed(numbers, structure, tuple(leaf.shape for leaf in leaves))
