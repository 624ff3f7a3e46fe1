"""Splits a pytree into the arrays JAX can trace and everything else."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np


def is_array(value: Any) -> bool:
    """Whether JAX traces `value`: an array or a NumPy scalar, no Python number."""
    return isinstance(value, jax.Array | np.ndarray | np.generic)


class Partition:
    """The static part of one pytree, remembered while its arrays are traced.

    Example:
        >>> static = Partition()
        >>> static.split({"x": np.arange(2), "name": "batch", "steps": 3})
        [array([0, 1])]
        >>> static.join([np.array([5, 6])])
        {'name': 'batch', 'steps': 3, 'x': array([5, 6])}
    """

    def split(self, tree: Any) -> list[Any]:
        """Remembers the structure and what is no array; returns the arrays."""
        leaves, self._structure = jax.tree.flatten(tree)
        self._dynamic = [is_array(leaf) for leaf in leaves]
        self._static = [
            None if dynamic else leaf
            for leaf, dynamic in zip(leaves, self._dynamic, strict=True)
        ]
        return [
            leaf for leaf, dynamic in zip(leaves, self._dynamic, strict=True) if dynamic
        ]

    def join(self, arrays: Any) -> Any:
        """The tree again, with `arrays` in place of those that were split off."""
        remaining = iter(arrays)
        leaves = [
            next(remaining) if dynamic else static
            for static, dynamic in zip(self._static, self._dynamic, strict=True)
        ]
        return self._structure.unflatten(leaves)

    def positions(self) -> dict[int, int]:
        """From the number of a leaf to the number of its array."""
        numbers = [i for i, dynamic in enumerate(self._dynamic) if dynamic]
        return {leaf: array for array, leaf in enumerate(numbers)}
