"""The mark: an identity that points at a value and, differentiated, at its cotangent.

A mark returns its first operand. It is a primitive, so it survives every transform of
JAX: its tangent rule is again a mark, and the transpose of that marks the cotangent.
What the marks point at is read off the finished jaxpr (see `nndiag.probes.collecting`),
where each mark is replaced by its operand; a mark that is not collected costs nothing,
as it is compiled to nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.extend.core import Primitive

from nndiag.jaxprs import compat
from nndiag.records import Role, Site, SiteKind


class Mark(NamedTuple):
    """What a mark says of its operand.

    Attributes:
        role: what of the site it is; `"tangent"` only between `jvp` and transpose,
            `"loss"` for the scalar that is differentiated, `"use"` for what is made
            with a parameter and `"part"` for its cotangent.
        site: the place.
        call: number of the gradient call (or tap) it belongs to; it tells apart the
            equally named sites of two networks in one step.
        unit_axis: axis of the units (channels), counted from the end.
        batched: the axes that `jax.vmap` added inside the watch.
        detail: what else the statistics need to know (of an operation, which).
    """

    role: Role | str
    site: Site
    call: int
    unit_axis: int = -1
    batched: tuple[int, ...] = ()
    detail: Hashable = None

    def inner(self, rank: int) -> tuple[int, ...]:
        """The axes of an array of this rank that its statistics reduce.

        The leading axes of a parameter that a scan takes layer by layer remain.
        """
        kept = len(self.site.axes) if self.site.kind == "parameter" else 0
        own = [axis for axis in range(rank) if axis not in self.batched]
        return tuple(axis for axis in range(rank) if axis not in own[:kept])

    def units(self, rank: int) -> int:
        """The axis of the units in an array of this rank, counted from the start."""
        own = [axis for axis in range(rank) if axis not in self.batched]
        return own[self.unit_axis] if own else rank - 1


_PLAIN: frozenset[SiteKind] = frozenset(
    {"attention", "normalisation", "dropout", "residual"}
)
"""Kinds of places whose cotangent nobody reads."""

_TANGENTS = {"value": "tangent", "use": "use tangent"}
_COTANGENTS = {"tangent": "cotangent", "use tangent": "part"}
"""What the mark of a value becomes on its tangent, and that on its cotangent."""

mark_primitive = Primitive("nndiag_mark")
_calls = itertools.count(1)


def next_call() -> int:
    """A number for a gradient call; later calls have larger numbers."""
    return next(_calls)


def place(mark: Mark, value: Any, *riders: Any) -> Any:
    """Returns `value`, marked.

    Args:
        mark: what is said of it.
        value: an array.
        *riders: arrays that the statistics of `value` need (the pre-activation of an
            activation); no derivative flows through them.
    """
    return mark_primitive.bind(value, *riders, mark=mark)


def has_marks(equation: Any) -> bool:
    """Whether a mark stands anywhere in the bodies of `equation`."""
    return any(
        inner.primitive is mark_primitive or has_marks(inner)
        for body in compat.jaxprs_in(equation)
        for inner in body.eqns
    )


def _jvp(primals: Any, tangents: Any, *, mark: Mark) -> tuple[Any, Any]:
    value = mark_primitive.bind(*primals, mark=mark)
    tangent = tangents[0]
    plain = mark.role not in _TANGENTS or mark.site.kind in _PLAIN
    if compat.is_zero(tangent) or plain:
        return value, tangent
    tangent_mark = mark._replace(role=_TANGENTS[mark.role])
    # With the cotangent of what a parameter makes, one must know what it was made of.
    riders = primals[1:] if mark.role == "use" else ()
    return value, mark_primitive.bind(tangent, *riders, mark=tangent_mark)


def _transpose(cotangent: Any, *operands: Any, mark: Mark) -> list[Any]:
    if not compat.is_zero(cotangent):
        cotangent_mark = mark._replace(role=_COTANGENTS[mark.role])
        cotangent = mark_primitive.bind(cotangent, *operands[1:], mark=cotangent_mark)
    return [cotangent, *(None for _ in operands[1:])]


def _batch(operands: Any, axes: Any, *, mark: Mark) -> tuple[Any, int | None]:
    """Marks the batched value as it lies: to move its axes would cost a copy.

    A value that is not batched stays so; the axes that its riders gain go first.
    """
    value, *riders = operands
    axis, *rider_axes = axes
    if axis is not None:
        earlier = tuple(a + (a >= axis) for a in mark.batched)
        mark = mark._replace(batched=(*earlier, axis))
    rank = value.ndim - (axis is not None)
    moved = [
        _aligned(rider, other, axis, rank)
        for rider, other in zip(riders, rider_axes, strict=True)
    ]
    return mark_primitive.bind(value, *moved, mark=mark), axis


def _aligned(rider: Any, own: int | None, axis: int | None, rank: int) -> Any:
    """The rider with its new axis, if any, where it broadcasts against the value.

    Args:
        rider: an array.
        own: its new axis.
        axis: the new axis of the value.
        rank: of the value without its new axis.
    """
    extra = jnp.ndim(rider) - (own is not None) - rank
    if own is not None:
        return jnp.moveaxis(rider, own, 0 if axis is None else axis + extra)
    if axis is None or extra < 0:
        return rider
    return jnp.expand_dims(rider, axis + extra)


compat.define_identity(mark_primitive, jvp=_jvp, transpose=_transpose, batch=_batch)
