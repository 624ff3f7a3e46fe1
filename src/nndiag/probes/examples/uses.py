"""Operations through which a parameter meets data, and how to undo them.

Each is linear in the parameter. The part of its gradient that flows through example i
is a sum over positions t of products of what the layer reads and of the derivative δ of
the loss by what it returns; `factors` brings both into one form for all operations.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nndiag.probes.examples.weights import REPEATED, Weight


class Use(NamedTuple):
    """A place where a parameter meets data.

    Attributes:
        number: of the place, which sorts the uses of a loss.
        weight: what of the parameter is used there.
        kind: ``"product"``, ``"sum"`` or ``"lookup"``: what its factors are.
        operation: the name of the primitive.
        axes: the example axis of what the layer reads and of what it returns.
        size: the number of examples.
        shape: of the weight.
        depth: how many scans stand around it in the loss.
        alone: whether the parameter is used nowhere else.
        detail: what else there is to know of the operation.
    """

    number: int
    weight: Weight
    kind: str
    operation: str
    axes: tuple[int, int]
    size: int
    shape: tuple[int, ...]
    depth: int
    alone: bool = True
    detail: Hashable = None

    @property
    def shared(self) -> tuple[int, ...]:
        """The depths of the scans whose iterations all use the same numbers."""
        return tuple(d for d in range(self.depth) if d not in self.weight.sliced)


def use_of(
    equation: Any, operand: int, weight: Weight, axes: Sequence[int | None]
) -> tuple[str, tuple[int, int], tuple[int, ...], Hashable] | None:
    """How `equation` uses a weight; `None` if that cannot be undone.

    Args:
        equation: with one operand that is a weight, and others that are data.
        operand: the number of the weight among its operands.
        weight: what is known of it.
        axes: the example axes of the operands, and then of the output.

    Returns:
        The kind of the use, the example axes of what is read and of what is returned,
        the numbers of the operands that are read, and the detail.
    """
    name, returned = equation.primitive.name, axes[-1]
    shape = equation.invars[operand].aval.shape
    if returned is None or not equation.outvars[0].aval.shape:
        return None
    if name in ("add", "add_any", "sub", "mul"):
        if shape and weight.axes[returned] != REPEATED:
            return None
        other = 1 - operand
        if name != "mul":
            sign = -1.0 if name == "sub" and operand == 1 else 1.0
            return "sum", (0, returned), (), sign
        if axes[other] is None:
            return None
        return "sum", (returned, returned), (other,), 1.0
    if any(
        axis == REPEATED and length > 1
        for axis, length in zip(weight.axes, shape, strict=True)
    ):
        return None
    read = axes[1 - operand]
    if read is None:
        return None
    if name == "dot_general":
        contracted, batched = equation.params["dimension_numbers"]
        if read in contracted[1 - operand] or read in batched[1 - operand]:
            return None
        detail = (operand, tuple(contracted), tuple(batched))
        return "product", (read, returned), (1 - operand,), detail
    if name == "conv_general_dilated" and operand == 1:
        return "product", (read, returned), (0,), _convolution(equation)
    if name == "gather" and operand == 0:
        numbers, sizes = equation.params["dimension_numbers"], shape[1:]
        if (
            tuple(numbers.start_index_map) == (0,)
            and tuple(numbers.collapsed_slice_dims) == (0,)
            and not numbers.operand_batching_dims
            and tuple(equation.params["slice_sizes"]) == (1, *sizes)
        ):
            detail = tuple(numbers.offset_dims), str(equation.params["mode"]), shape[0]
            return "lookup", (read, returned), (1,), detail
    return None


def _convolution(equation: Any) -> Hashable:
    params, kernel = equation.params, equation.invars[1].aval.shape
    numbers = params["dimension_numbers"]
    return (
        tuple(kernel[axis] for axis in numbers.rhs_spec[2:]),
        tuple(params["window_strides"]),
        tuple(tuple(pair) for pair in params["padding"]),
        tuple(params["lhs_dilation"]),
        tuple(params["rhs_dilation"]),
        tuple(numbers.lhs_spec),
        tuple(numbers.out_spec),
        params["feature_group_count"],
        tuple(numbers.rhs_spec),
    )


def factors(use: Use, delta: Any, *read: Any) -> tuple[Any, ...]:
    """What a use reads and what comes back, in one form for each kind.

    Returns:
        Of a ``"product"``, arrays ``[examples, groups, positions, K]`` and ``[…, N]``,
        whose products, summed over positions, are the part of an example. Of a
        ``"lookup"``, rows ``[examples, positions]`` and ``[examples, positions, N]``.
        Of a ``"sum"``, that part itself, ``[examples, …]``.
    """
    delta = _wide(delta) * use.weight.factor
    if use.kind == "sum":
        part = delta * use.detail
        if read:
            part = part * _wide(read[0])
        return (_over_repeated(use, part),)
    if use.kind == "lookup":
        return _lookup(use, delta, read[0])
    if use.operation == "dot_general":
        return _dot(use, delta, _wide(read[0]))
    return _patches(use, delta, _wide(read[0]))


def _over_repeated(use: Use, part: Any) -> Any:
    """Summed over where the weight repeats itself, within each example."""
    part = _examples_first(part, use.axes[1], use.size)
    axes = list(use.weight.axes) or [REPEATED] * (part.ndim - 2)
    del axes[use.axes[1] : use.axes[1] + bool(use.weight.axes)]
    # The entries of an example come second; the weight repeats itself there.
    repeated = [1, *(2 + at for at, axis in enumerate(axes) if axis == REPEATED)]
    return part.sum(tuple(repeated))


def _dot(use: Use, delta: Any, read: Any) -> tuple[Any, Any]:
    operand, contracted, batched = use.detail  # type: ignore[misc]
    mine = 1 - operand
    groups = len(batched[0])
    # What is read becomes [groups…, free…, contracted…]; the output has groups first.
    gone = {*contracted[mine], *batched[mine]}
    free = [axis for axis in range(read.ndim) if axis not in gone]
    read = read.transpose(*batched[mine], *free, *contracted[mine])
    if operand == 0:
        first = delta.ndim - len(free)
        order = [*range(groups), *range(first, delta.ndim), *range(groups, first)]
        delta = delta.transpose(order)
    example = groups + free.index(use.axes[0])

    def shaped(array: Any) -> Any:
        array = _examples_first(array, example, use.size)
        array = jnp.moveaxis(array, 1, 1 + groups)  # the entries are positions
        first, after = 1 + groups, 1 + groups + len(free)
        parts = array.shape[1:first], array.shape[first:after], array.shape[after:]
        return array.reshape(use.size, *map(math.prod, parts))

    return shaped(read), shaped(delta)


def _patches(use: Use, delta: Any, read: Any) -> tuple[Any, Any]:
    kernel, strides, padding, dilation, spread, lhs, out, groups, _ = use.detail  # type: ignore[misc]
    read = read.transpose(lhs)  # [examples, channels, space…]
    delta = delta.transpose(out)
    patches = jax.lax.conv_general_dilated_patches(
        read,
        filter_shape=kernel,
        window_strides=strides,
        padding=padding,
        lhs_dilation=dilation,
        rhs_dilation=spread,
        precision=jax.lax.Precision.HIGHEST,
    )

    def shaped(array: Any) -> Any:
        # [examples, entries, channels, space…], each channel of its group
        channels, *space = array.shape[1:]
        shape = use.size, -1, groups, channels // groups, math.prod(space)
        split = array.reshape(shape)
        split = split.transpose(0, 2, 1, 4, 3)
        return split.reshape(*split.shape[:2], -1, split.shape[-1])

    return shaped(patches), shaped(delta)


def _lookup(use: Use, delta: Any, indices: Any) -> tuple[Any, Any]:
    offset, mode, rows = use.detail  # type: ignore[misc]
    looped = [axis for axis in range(delta.ndim) if axis not in offset]
    place = looped.index(use.axes[1])
    delta = delta.transpose(*looped, *offset)
    index = indices[..., 0]
    if "CLIP" in mode:
        index = jnp.clip(index, 0, rows - 1)
    inside = ((index >= 0) & (index < rows)).reshape(*index.shape, *(1 for _ in offset))
    delta = jnp.where(inside, delta, 0)
    index = _examples_first(index, place, use.size).reshape(use.size, -1)
    delta = _examples_first(delta, place, use.size)
    return index, delta.reshape(*index.shape, -1)


def _examples_first(array: Any, axis: int, size: int) -> Any:
    """The array as ``[examples, entries, other axes…]``."""
    array = jnp.moveaxis(array, axis, 0)
    return array.reshape(size, array.shape[0] // size, *array.shape[1:])


def _wide(value: Any) -> Any:
    dtype = jnp.result_type(value)
    return jnp.asarray(value, dtype if dtype.itemsize > 4 else jnp.float32)
