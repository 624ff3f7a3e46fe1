"""Scalars that are finished together.

Statistics end in a few operations on single numbers (a root, a division). Of each, XLA
would make a kernel of its own, to compile and to start at every step: dozens of them in
a small network. So they are put off, and done for all places at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Later:
    """What a function will make of numbers, element by element.

    Attributes:
        operands: numbers, or arrays of one shape.
        function: what to do with them; the same object for all that is done together.
    """

    operands: tuple[Any, ...]
    function: Callable[..., Any] = field(metadata={"static": True})


def finish(tree: Any) -> Any:
    """The tree, with results in place of all that was put off.

    Example:
        >>> norms = {"a": Later((jnp.asarray(4.0),), jnp.sqrt), "b": jnp.ones(2)}
        >>> float(finish(norms)["a"])
        2.0
    """
    leaves, structure = jax.tree.flatten(tree, is_leaf=_is_later)
    groups: dict[Any, list[int]] = defaultdict(list)
    for number, leaf in enumerate(leaves):
        if _is_later(leaf):
            operands = jnp.broadcast_arrays(*leaf.operands)
            leaves[number] = Later(tuple(operands), leaf.function)
            groups[leaf.function, operands[0].dtype].append(number)
    for (function, _), numbers in groups.items():
        operands = zip(*(leaves[number].operands for number in numbers), strict=True)
        flat = [jnp.concatenate([jnp.ravel(one) for one in same]) for same in operands]
        results, start = function(*flat), 0
        for number in numbers:
            shape = leaves[number].operands[0].shape
            end = start + leaves[number].operands[0].size
            leaves[number] = results[start:end].reshape(shape)
            start = end
    return structure.unflatten(leaves)


def _is_later(leaf: Any) -> bool:
    return isinstance(leaf, Later)
