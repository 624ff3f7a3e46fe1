"""Norms of the part that each example has in the gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from nndiag.probes.examples.uses import Use
from nndiag.probes.examples.weights import REPEATED

Parts = tuple[Any, ...]
"""The factors of a use; or its squared norms alone, if these are all that is needed."""

_HIGHEST = jax.lax.Precision.HIGHEST


def needs_factors(use: Use) -> bool:
    """Whether squared norms of its iterations would not add up."""
    return not use.alone or bool(use.shared)


def norms(read: Mapping[Use, Parts]) -> Any:
    """The norm of the part of each example, √(Σ over parameters).

    Args:
        read: of each use in a loss, its squared norms where `needs_factors` is false,
            else its factors, with leading axes for the scans around it.

    Returns:
        An array with the examples along its last axis.
    """
    total: Any = 0.0
    leaves: dict[int, list[Use]] = {}
    for use in sorted(read):
        leaves.setdefault(use.weight.leaf, []).append(use)
    for uses in leaves.values():
        if not needs_factors(uses[0]):
            (squares,) = read[uses[0]]
            last = squares.ndim - 1
            total = total + squares.sum(tuple(range(last - uses[0].depth, last)))
        elif len(uses) > 1 and can_be_added(uses):
            total = total + _together(uses, [read[use] for use in uses])
        else:
            total = total + sum(_separately(use, read[use]) for use in uses)
    return jnp.sqrt(total)


def can_be_added(uses: Sequence[Use]) -> bool:
    """Whether the parts of several uses of a parameter can be told in its own axes."""
    return len({use.weight.sliced for use in uses}) == 1 and all(
        use.weight.ordered and use.operation != "conv_general_dilated" for use in uses
    )


def squared(use: Use, parts: Parts) -> Any:
    """‖g_i‖² of each example, of what flows through one use.

    Of a product, g_i = Σ_t x_t ⊗ δ_t over its positions t: its square is either
    Σ_{t,s} ⟨x_t, x_s⟩⟨δ_t, δ_s⟩, or found by adding up g_i, whichever is smaller
    (Li et al. 2022, arXiv:2110.05679).
    """
    if use.kind == "sum":
        (part,) = parts
        return jnp.square(part).sum(tuple(range(1, part.ndim)))
    if use.kind == "lookup":
        index, delta = parts
        same = index[:, :, None] == index[:, None, :]
        alike = jnp.einsum("btn,bsn->bts", delta, delta, precision=_HIGHEST)
        return jnp.maximum(jnp.where(same, alike, 0).sum((1, 2)), 0)
    x, delta = parts
    positions, size = x.shape[2], x.shape[3] * delta.shape[3]
    if positions == 1:
        squares = jnp.square(x).sum((2, 3)) * jnp.square(delta).sum((2, 3))
        return squares.sum(1)
    if positions * positions <= size:
        pairs = [
            jnp.einsum("bgtk,bgsk->bgts", one, one, precision=_HIGHEST)
            for one in (x, delta)
        ]
        return jnp.maximum((pairs[0] * pairs[1]).sum((1, 2, 3)), 0)
    part = jnp.einsum("bgtk,bgtn->bgkn", x, delta, precision=_HIGHEST)
    return jnp.square(part).sum((1, 2, 3))


_OWN_RANKS = {"product": (4, 4), "lookup": (2, 3)}


def _folded(use: Use, parts: Parts) -> tuple[Parts, int]:
    """Factors without the axes of scans whose iterations use the same numbers.

    Such iterations become positions.

    Returns:
        The factors, first with the axes around the loss, then with those of the other
        scans; and how many axes there are around the loss.
    """
    kept = sum(axis != REPEATED for axis in use.weight.axes)
    ranks = _OWN_RANKS.get(use.kind, (1 + kept,))
    around = parts[0].ndim - ranks[0] - use.depth
    own = [around + depth for depth in use.weight.sliced]
    first = range(around, around + len(own))
    moved = [jnp.moveaxis(part, own, first) for part in parts]

    def join(*parts: Any) -> Parts:
        return tuple(map(_joined, [use.kind] * len(parts), parts, ranks))

    return _under(around + len(own), join)(*moved), around


def _under(axes: int, function: Any) -> Any:
    """The function, for arrays with so many more leading axes."""
    for _ in range(axes):
        function = jax.vmap(function)
    return function


def _separately(use: Use, parts: Parts) -> Any:
    folded, around = _folded(use, parts)
    loops = len(use.weight.sliced)
    squares = _under(around + loops, lambda *own: squared(use, own))(*folded)
    return squares.sum(tuple(range(around, around + loops)))


def _joined(kind: str, part: Any, rank: int) -> Any:
    """A factor with its leading axes, of iterations, among the positions."""
    part = part.reshape(-1, *part.shape[part.ndim - rank :])
    if kind == "sum":
        return part.sum(0)
    place = 2 if kind == "product" else 1
    part = jnp.moveaxis(part, 0, place)
    shape = part.shape
    joined = shape[place] * shape[place + 1]
    return part.reshape(*shape[:place], joined, *shape[place + 2 :])


def _together(uses: Sequence[Use], read: Sequence[Parts]) -> Any:
    """‖Σ over uses‖², by adding their parts up, one example after the other."""
    folded, (around, *_) = zip(*map(_folded, uses, read), strict=True)
    loops = len(uses[0].weight.sliced)

    def example(parts: Sequence[Parts]) -> Any:
        added = [_part(use, own) for use, own in zip(uses, parts, strict=True)]
        return jnp.square(sum(added)).sum()

    squares = _under(around + loops, lambda *parts: jax.lax.map(example, parts))(
        *folded
    )
    return squares.sum(tuple(range(around, around + loops)))


def _part(use: Use, parts: Parts) -> Any:
    """The part of one example, in the parameter's own axes."""
    if use.kind == "sum":
        (array,) = parts
        axes = [axis for axis in use.weight.axes if axis != REPEATED]
        return array.transpose(_order(axes))
    if use.kind == "lookup":
        index, delta = parts
        array = jnp.zeros((use.shape[0], delta.shape[-1]), delta.dtype)
        array = array.at[index].add(delta, mode="drop").reshape(use.shape)
    else:
        x, delta = parts
        operand, contracted, batched = use.detail  # type: ignore[misc]
        first = [*batched[operand], *contracted[operand]]
        free = [axis for axis in range(len(use.shape)) if axis not in first]
        now = [*first, *free]
        array = jnp.einsum("gtk,gtn->gkn", x, delta, precision=_HIGHEST)
        array = array.reshape([use.shape[axis] for axis in now]).transpose(_order(now))
    kept = [
        (length, axis)
        for length, axis in zip(use.shape, use.weight.axes, strict=True)
        if axis != REPEATED
    ]
    array = array.reshape([length for length, _ in kept])
    return array.transpose(_order([axis for _, axis in kept]))


def _order(axes: Sequence[int]) -> list[int]:
    return sorted(range(len(axes)), key=lambda place: axes[place])
