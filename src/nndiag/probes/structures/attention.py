"""Attention: a softmax over products of two signals, which weights a third.

Recognised are exp(x − c)/Σ exp(x − c) over one axis, with or without the maximum for c,
and exp(x − log Σ exp x); masked, scaled, biased, capped, before or after dropout. Not
recognised are attention to queries that are parameters, and online softmax.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nndiag.probes.structures.graph import Value
from nndiag.probes.structures.patterns import (
    CAST,
    SHAPE,
    orders,
    same,
    through,
    unscaled,
    unselected,
    unshifted,
)

_ON_THE_WAY = CAST | SHAPE | {"mul", "div", "add", "sub", "select_n", "tanh", "neg"}
"""What may happen to the products before the softmax."""

_FARTHEST = 64
"""Values to look at, at most, between a softmax and the product it is of."""


class Softmax(NamedTuple):
    """Weights that sum to one.

    Attributes:
        weights: what the softmax returns.
        logits: what it is of, of the same shape.
        axis: that it sums over.
    """

    weights: Value
    logits: Value
    axis: int


class Attention(NamedTuple):
    """An attention.

    Attributes:
        softmax: over the keys.
        heads: the axes of the heads in `softmax.weights`; none if there is one head.
    """

    softmax: Softmax
    heads: tuple[int, ...]


def find(values: Sequence[Value]) -> Iterator[Attention]:
    """Every attention among the values of a loss, in forward order."""
    seen: set[Value] = set()
    for value in values:
        if value.name != "dot_general" or not all(o.is_signal for o in value.operands):
            continue
        (contracted, batched) = value.equation.params["dimension_numbers"]
        for side, operand in enumerate(value.operands):
            softmax = softmax_of(_undropped(operand))
            if softmax is None or softmax.weights in seen:
                continue
            if softmax.axis not in contracted[side] or not _of_products(softmax):
                continue
            if softmax.logits.shape[softmax.axis] < 2:
                continue
            seen.add(softmax.weights)
            _, *heads = sorted(batched[side]) or [0]
            shape = softmax.weights.shape
            yield Attention(softmax, tuple(a for a in heads if shape[a] > 1))


def softmax_of(value: Value) -> Softmax | None:
    """The softmax that `value` is the result of, if it is one."""
    weights = unselected(value)
    found = _quotient(weights) or _exponential_of_difference(weights)
    if found is None:
        return None
    logits, axis = found
    return Softmax(weights, logits, axis) if logits.shape == weights.shape else None


def _quotient(value: Value) -> tuple[Value, int] | None:
    """exp(x)/Σ exp(x), or exp(x)·(1/Σ exp(x)): x, and the axis of the sum."""
    if value.name == "div":
        pairs = [value.operands]
    elif value.name == "mul":
        pairs = [(one, _inverse(other)) for one, other in orders(value)]
    else:
        return None
    for one, total in pairs:
        exponential = unselected(one)
        if total is None or exponential.name not in {"exp", "exp2"}:
            continue
        axis = _axis_of_sum(total, exponential)
        if axis is not None:
            return _less_maximum(exponential.operands[0]), axis
    return None


def _exponential_of_difference(value: Value) -> tuple[Value, int] | None:
    """exp(x − log Σ exp(x)): x, and the axis of the sum."""
    if value.name != "exp":
        return None
    difference = through(value.operands[0], CAST)
    if difference.name != "sub":
        return None
    logits, norm = difference.operands
    norm = through(norm, CAST, SHAPE)
    parts = [norm, *(norm.operands if norm.name == "add" else ())]
    for part in parts:
        logarithm = through(part, CAST, SHAPE)
        if logarithm.name != "log":
            continue
        total = unshifted(logarithm.operands[0], SHAPE, frozenset({"abs"}))
        if total.name != "reduce_sum":
            continue
        exponential = unselected(total.operands[0])
        if exponential.name != "exp":
            continue
        axis = _axis_of_sum(total, exponential)
        inside = _less_maximum(exponential.operands[0])
        same = through(inside, CAST) is through(_less_maximum(logits), CAST)
        if axis is not None and same:
            return inside, axis
    return None


def _inverse(value: Value) -> Value | None:
    """What `value` is one over, if it is."""
    value = through(value, CAST, SHAPE)
    if value.name == "div" and value.operands[0].is_constant:
        return value.operands[1]
    if value.name == "integer_pow" and value.equation.params["y"] == -1:
        return value.operands[0]
    return None


def _axis_of_sum(total: Value, exponential: Value) -> int | None:
    """The axis over which `total` is the sum of `exponential`, if it is."""
    total = unshifted(total, SHAPE)
    if total.name != "reduce_sum":
        return None
    if not same(unselected(total.operands[0]), exponential):
        return None
    axes = total.equation.params["axes"]
    return int(axes[0]) if len(axes) == 1 else None


def _less_maximum(value: Value) -> Value:
    """`x` of `x − max x`; any other value is itself."""
    inner = unselected(value)
    if inner.name == "sub" and _is_maximum(inner.operands[1]):
        return inner.operands[0]
    return value


def _is_maximum(value: Value) -> bool:
    return unshifted(value, SHAPE).name == "reduce_max"


def _undropped(value: Value) -> Value:
    """What dropout, casts and scales were applied to."""
    while True:
        inner = unscaled(unselected(value))
        if inner.name == "mul":
            rest = [o for o in inner.operands if not o.random]
            inner = rest[0] if len(rest) == 1 else inner
        if inner is value:
            return value
        value = inner


def _of_products(softmax: Softmax) -> bool:
    """Whether the logits are made of products of two signals, element by element."""
    waiting, seen = [softmax.logits], {softmax.logits}
    while waiting and len(seen) < _FARTHEST:
        value = waiting.pop()
        if value.name == "dot_general":
            if all(operand.is_signal for operand in value.operands):
                return True
        elif value.name in _ON_THE_WAY:
            fresh = [o for o in value.operands if not o.fact.weight and o not in seen]
            seen.update(fresh)
            waiting.extend(fresh)
    return False
