"""What a pass over a loss knows of each value."""

from __future__ import annotations

from typing import NamedTuple

from nndiag.probes.examples.weights import Weight


class Value(NamedTuple):
    """What is known of a value of the loss.

    Attributes:
        axis: its example axis, `None` if it has none.
        data: whether it depends on the examples.
        leaves: the parameters it was made of without data.
        trained: whether the gradient flows through it.
        weight: the parameter that it holds, as far as that is so.
    """

    axis: int | None = None
    data: bool = False
    leaves: frozenset[int] = frozenset()
    trained: bool = False
    weight: Weight | None = None


CONSTANT = Value()


def sliced(value: Value, depth: int | None) -> Value:
    """What a scan at this depth reads of a value in one iteration."""
    weight = value.weight
    if weight is not None:
        weight = None if depth is None else weight.slice(depth)
    axis = value.axis - 1 if value.axis else None
    return value._replace(axis=axis, weight=weight)


def joined(*values: Value) -> Value:
    """What is known of a value that is one of these."""
    first = values[0]
    if all(value == first for value in values):
        return first
    axes = {value.axis for value in values if value.data}
    weights = {value.weight for value in values}
    return Value(
        axis=axes.pop() if len(axes) == 1 else None,
        data=any(value.data for value in values),
        leaves=frozenset[int]().union(*(value.leaves for value in values)),
        trained=any(value.trained for value in values),
        weight=weights.pop() if len(weights) == 1 else None,
    )
