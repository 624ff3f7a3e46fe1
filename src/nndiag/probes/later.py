"""Scalars that are finished together.

Statistics end in a few operations on single numbers (a root, a division). Of each, XLA
would make a kernel of its own, to compile and to start at every step: dozens of them in
a small network. So they are put off, and done for all places at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nndiag.probes.stacked import Place, Stacked


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


class Entry(NamedTuple):
    """Where the result for one leaf stands in a vector of results.

    Attributes:
        leaf: number of the leaf.
        start: where it begins.
        shape: its shape.
    """

    leaf: int
    start: int
    shape: tuple[int, ...]


def is_later(leaf: Any) -> bool:
    """Whether a leaf is put off; such are leaves, though they hold arrays."""
    return isinstance(leaf, Later | Stacked)


def do_together(leaves: Sequence[Any]) -> Iterator[tuple[Any, list[Entry]]]:
    """All that was put off among the leaves, as one vector for each function."""
    groups: dict[Any, list[tuple[int, list[Any]]]] = defaultdict(list)
    for number, leaf in enumerate(leaves):
        if isinstance(leaf, Later):
            operands = jnp.broadcast_arrays(*leaf.operands)
            groups[leaf.function, operands[0].dtype].append((number, operands))
    for (function, _), members in groups.items():
        entries: list[Entry] = []
        start = 0
        for number, (first, *_) in members:
            entries.append(Entry(number, start, first.shape))
            start += first.size
        columns = zip(*(operands for _, operands in members), strict=True)
        vectors = [jnp.concatenate(list(map(jnp.ravel, column))) for column in columns]
        yield function(*vectors), entries


def finish(tree: Any) -> Any:
    """The tree, with results in place of all that was put off.

    Example:
        >>> norms = {"a": Later((jnp.asarray(4.0),), jnp.sqrt), "b": jnp.ones(2)}
        >>> float(finish(norms)["a"])
        2.0
    """
    leaves, structure = jax.tree.flatten(tree, is_leaf=is_later)
    for results, entries in do_together(leaves):
        for number, start, shape in entries:
            leaves[number] = Place(start, shape).take(results)
    leaves = [leaf.array if isinstance(leaf, Stacked) else leaf for leaf in leaves]
    return structure.unflatten(leaves)
