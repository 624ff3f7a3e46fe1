"""Values that hold the numbers of one parameter, moved, repeated or scaled."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from nndiag.jaxprs import compat

REPEATED = -1
"""Stands for an axis along which a value repeats itself."""


class Weight(NamedTuple):
    """A value made of a parameter without changing the norm of its gradient.

    Attributes:
        leaf: number of the parameter.
        axes: for each axis of the value, that of the parameter, or `REPEATED`, as any
            axis of length 1 may be.
        factor: what the numbers were multiplied by.
        ordered: whether `axes` is true; after a reshape that splits or merges axes it
            only says which of them are `REPEATED`.
        sliced: the depths of the scans that go through the parameter slice by slice.
    """

    leaf: int
    axes: tuple[int, ...]
    factor: float = 1.0
    ordered: bool = True
    sliced: tuple[int, ...] = ()

    def slice(self, depth: int) -> Weight:
        """What a scan at this depth reads of it in one iteration."""
        first, *rest = self.axes
        own = () if first == REPEATED else (depth,)
        return self._replace(axes=tuple(rest), sliced=(*self.sliced, *own))


def whole(leaf: int, shape: tuple[int, ...]) -> Weight:
    """A parameter itself."""
    axes = (axis if length > 1 else REPEATED for axis, length in enumerate(shape))
    return Weight(leaf, tuple(axes))


def image(equation: Any, weight: Weight) -> Weight | None:
    """The output of `equation` as such a value, `None` if it is none.

    Args:
        equation: has one operand that is no number.
        weight: that operand.
    """
    rule = _RULES.get(equation.primitive.name)
    return None if rule is None else rule(equation, weight)


def _same(equation: Any, weight: Weight) -> Weight:
    return weight


def _negative(equation: Any, weight: Weight) -> Weight:
    return weight._replace(factor=-weight.factor)


def _scaled(equation: Any, weight: Weight) -> Weight | None:
    literals = [atom for atom in equation.invars if compat.is_literal(atom)]
    if len(literals) != 1:
        return None
    number = float(literals[0].val)
    if equation.primitive.name == "mul":
        return weight._replace(factor=weight.factor * number)
    if number == 0 or not compat.is_literal(equation.invars[1]):
        return None
    return weight._replace(factor=weight.factor / number)


def _transposed(equation: Any, weight: Weight) -> Weight:
    order = equation.params["permutation"]
    return weight._replace(axes=tuple(weight.axes[axis] for axis in order))


def _squeezed(equation: Any, weight: Weight) -> Weight:
    gone = equation.params["dimensions"]
    kept = (axis for place, axis in enumerate(weight.axes) if place not in gone)
    return weight._replace(axes=tuple(kept))


def _repeated(equation: Any, weight: Weight) -> Weight:
    old, new = _shapes(equation)
    axes = [REPEATED] * len(new)
    for place, target in enumerate(equation.params["broadcast_dimensions"]):
        if old[place] == new[target]:
            axes[target] = weight.axes[place]
    return weight._replace(axes=tuple(axes))


def _reshaped(equation: Any, weight: Weight) -> Weight | None:
    """Axes of length 1 may come and go; else all must be the parameter's own."""
    old, new = _shapes(equation)
    long = [
        (axis, length)
        for axis, length in zip(weight.axes, old, strict=True)
        if length > 1
    ]
    if [length for _, length in long] == [length for length in new if length > 1]:
        own = iter(axis for axis, _ in long)
        axes = (next(own) if length > 1 else REPEATED for length in new)
        return weight._replace(axes=tuple(axes))
    if any(axis == REPEATED for axis, _ in long) or not math.prod(old):
        return None
    return weight._replace(axes=tuple(range(len(new))), ordered=False)


def _cut(equation: Any, weight: Weight) -> Weight:
    return weight._replace(ordered=False)


def _shapes(equation: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return equation.invars[0].aval.shape, equation.outvars[0].aval.shape


_RULES: dict[str, Callable[[Any, Weight], Weight | None]] = {
    "convert_element_type": _same,
    "copy": _same,
    "copy_p": _same,
    "reduce_precision": _same,
    "sharding_constraint": _same,
    "optimization_barrier": _same,
    "neg": _negative,
    "mul": _scaled,
    "div": _scaled,
    "transpose": _transposed,
    "squeeze": _squeezed,
    "broadcast_in_dim": _repeated,
    "reshape": _reshaped,
    "slice": _cut,
    "rev": _cut,
}
