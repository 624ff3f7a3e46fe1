"""Where the examples of a batch lie in each value of a program.

An *example axis* holds the examples one after the other, each with the same number of
entries: that of ``[B, T, d]`` is 0, and so is that of ``[B * T, d]``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from nndiag.jaxprs.primitives import ELEMENTWISE

Axes = Sequence[int | None]
"""For each operand, its example axis; `None` if it has none."""


def axis_after(equation: Any, axes: Axes, size: int) -> int | None:
    """The example axis of the outputs of `equation`, `None` if it is not known.

    Args:
        equation: any equation without bodies.
        axes: those of its operands.
        size: the number of examples.
    """
    name = equation.primitive.name
    if all(axis is None for axis in axes) or not equation.outvars:
        return None
    rule = _RULES.get(name)
    if rule is None:
        rule = _elementwise if name in ELEMENTWISE else _in_place
    axis = rule(equation, axes, size)
    shape = equation.outvars[0].aval.shape
    if axis is None or axis >= len(shape) or not shape[axis] or shape[axis] % size:
        return None
    return axis


def after_reshape(
    old: tuple[int, ...], new: tuple[int, ...], axis: int, size: int
) -> int | None:
    """The example axis after a reshape.

    Example:
        >>> after_reshape((8, 5, 3), (40, 3), 0, 8), after_reshape((40,), (8, 5), 0, 8)
        (0, 0)
        >>> after_reshape((5, 8, 3), (40, 3), 1, 8) is None
        True
    """
    before = math.prod(old[:axis])
    for place, length in enumerate(new):
        same = math.prod(new[:place]) == before
        if same and length % size == 0 and length:
            return place
    return None


def _elementwise(equation: Any, axes: Axes, size: int) -> int | None:
    return min((axis for axis in axes if axis is not None), default=None)


def _in_place(equation: Any, axes: Axes, size: int) -> int | None:
    """The same axis, for what keeps its length and works along others (a sort)."""
    axis, atom = next(
        (axis, atom)
        for axis, atom in zip(axes, equation.invars, strict=True)
        if axis is not None
    )
    own = {equation.params.get(name) for name in ("axis", "dimension")}
    old, new = atom.aval.shape, equation.outvars[0].aval.shape
    kept = len(old) == len(new) and old[axis] == new[axis]
    return axis if kept and axis not in own else None


def _broadcast(equation: Any, axes: Axes, size: int) -> int | None:
    return equation.params["broadcast_dimensions"][axes[0]]


def _reshape(equation: Any, axes: Axes, size: int) -> int | None:
    (axis, *_), (atom, *_) = axes, equation.invars
    assert axis is not None
    return after_reshape(atom.aval.shape, equation.outvars[0].aval.shape, axis, size)


def _transpose(equation: Any, axes: Axes, size: int) -> int | None:
    return list(equation.params["permutation"]).index(axes[0])


def _reduce(equation: Any, axes: Axes, size: int) -> int | None:
    return _without(axes[0], equation.params["axes"])


def _squeeze(equation: Any, axes: Axes, size: int) -> int | None:
    return _without(axes[0], equation.params["dimensions"])


def _without(axis: int | None, removed: Sequence[int]) -> int | None:
    if axis is None or axis in removed:
        return None
    return axis - sum(other < axis for other in removed)


def _dot(equation: Any, axes: Axes, size: int) -> int | None:
    contracted, batched = equation.params["dimension_numbers"]
    for side, axis in enumerate(axes):
        if axis is None or axis in contracted[side]:
            continue
        if axis in batched[side]:
            return list(batched[side]).index(axis)
        taken = {*contracted[side], *batched[side]}
        before = sum(other not in taken for other in range(axis))
        if side == 0:
            return len(batched[0]) + before
        rank = len(equation.invars[0].aval.shape)
        return rank - len(contracted[0]) + before
    return None


def _convolution(equation: Any, axes: Axes, size: int) -> int | None:
    numbers = equation.params["dimension_numbers"]
    if axes[0] != numbers.lhs_spec[0] or equation.params["batch_group_count"] != 1:
        return None
    return numbers.out_spec[0]


def _gather(equation: Any, axes: Axes, size: int) -> int | None:
    numbers = equation.params["dimension_numbers"]
    rank = len(equation.outvars[0].aval.shape)
    looped = [axis for axis in range(rank) if axis not in numbers.offset_dims]
    operand, indices = axes
    if indices is not None:
        return looped[indices] if indices < len(looped) else None
    if operand is None:
        return None
    if operand in numbers.operand_batching_dims:
        place = list(numbers.operand_batching_dims).index(operand)
        return looped[numbers.start_indices_batching_dims[place]]
    gone = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    whole = equation.params["slice_sizes"][operand]
    if operand in gone or whole != equation.invars[0].aval.shape[operand]:
        return None
    sizes = equation.params["slice_sizes"]
    kept = [axis for axis in range(len(sizes)) if axis not in gone]
    return list(numbers.offset_dims)[kept.index(operand)]


_RULES: dict[str, Callable[[Any, Axes, int], int | None]] = {
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "transpose": _transpose,
    "squeeze": _squeeze,
    "dot_general": _dot,
    "conv_general_dilated": _convolution,
    "gather": _gather,
    "argmax": _reduce,
    "argmin": _reduce,
} | dict.fromkeys(
    [
        "reduce_sum",
        "reduce_max",
        "reduce_min",
        "reduce_prod",
        "reduce_and",
        "reduce_or",
        "reduce_xor",
    ],
    _reduce,
)
