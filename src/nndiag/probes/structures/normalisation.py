"""Normalisation: what is divided by the root of its own mean square.

Recognised are (x − mean x)/√(var x + ε) and x/√(mean x² + ε), with √ and division or
with their inverse, over whichever axes; scales and shifts may come before or after.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nndiag.probes.structures.graph import Value
from nndiag.probes.structures.patterns import (
    CAST,
    SHAPE,
    orders,
    through,
    unscaled,
    unshifted,
)


class Normalisation(NamedTuple):
    """A normalisation.

    Attributes:
        source: what comes in.
        result: the quotient.
        function: ``"layer_norm"``, ``"batch_norm"`` (statistics over the first of
            several axes) or ``"rms_norm"`` (the mean is not taken off).
    """

    source: Value
    result: Value
    function: str


class _Spread(NamedTuple):
    """A variance or mean square: of what, over which axes, with the mean taken off."""

    source: Value
    axes: tuple[int, ...]
    centred: bool


def find(values: Sequence[Value]) -> Iterator[Normalisation]:
    """Every normalisation among the values of a loss, in forward order."""
    seen: set[Value] = set()
    for value in values:
        for signal, variance in _quotients(value):
            spread = _spread_of(variance)
            if spread is None or variance in seen:
                continue
            if _uncentred(signal) is not spread.source:
                continue
            seen.add(variance)
            yield Normalisation(spread.source, value, _function(spread))


def _function(spread: _Spread) -> str:
    rank = len(spread.source.shape)
    if not spread.centred:
        return "rms_norm"
    return (
        "batch_norm" if 0 in spread.axes and len(spread.axes) < rank else "layer_norm"
    )


def _quotients(value: Value) -> Iterator[tuple[Value, Value]]:
    """What is divided, and the variance (+ ε) by whose root it is."""
    if not value.is_signal:
        return
    if value.name == "div":
        signal, root = value.operands
        root = through(root, CAST, SHAPE)
        if root.name == "sqrt":
            yield signal, root.operands[0]
    elif value.name == "mul":
        for signal, factor in orders(value):
            variance = _under_inverse_root(unscaled(factor, SHAPE))
            if variance is not None:
                yield signal, variance


def _under_inverse_root(value: Value) -> Value | None:
    if value.name == "rsqrt":
        return value.operands[0]
    if value.name == "pow" and value.operands[1].is_constant:
        return value.operands[0] if _number(value.operands[1]) == -0.5 else None
    if value.name == "div" and value.operands[0].is_constant:
        root = through(value.operands[1], CAST, SHAPE)
        return root.operands[0] if root.name == "sqrt" else None
    return None


def _spread_of(variance: Value) -> _Spread | None:
    """The mean of the squares that `variance` is, apart from an ε."""
    value = unshifted(variance, SHAPE)
    if value.name == "sub":  # mean x² − (mean x)²
        found, mean = _mean_square(value.operands[0]), _squared(value.operands[1])
        source = None if mean is None else _mean_of(mean)
        if found is None or found.source is not source:
            return None
        return found._replace(centred=True)
    return _mean_square(value)


def _mean_square(value: Value) -> _Spread | None:
    total = _total_of_mean(value)
    squared = None if total is None else _squared(total.operands[0])
    if total is None or squared is None or not squared.is_signal:
        return None
    source = _uncentred(squared)
    axes = tuple(int(axis) for axis in total.equation.params["axes"])
    return _Spread(source, axes, source is not through(squared, CAST))


def _squared(value: Value) -> Value | None:
    """What `value` is the square of, if it is one."""
    value = through(value, CAST, SHAPE)
    power = value.equation.params.get("y") if value.name == "integer_pow" else None
    if value.name == "square" or power == 2:
        return through(value.operands[0], CAST)
    if value.name == "mul":
        first, second = (through(o, CAST) for o in value.operands)
        return first if first is second else None
    return None


def _total_of_mean(value: Value) -> Value | None:
    """The sum of which `value` is the mean: it is divided by a number."""
    value = unshifted(value, SHAPE)
    total = through(unscaled(value, SHAPE), SHAPE)
    return total if total is not value and total.name == "reduce_sum" else None


def _mean_of(value: Value) -> Value | None:
    total = _total_of_mean(value)
    return None if total is None else through(total.operands[0], CAST)


def _uncentred(value: Value) -> Value:
    """`x` of `x − mean x`, and of `x − 0`; any other value is itself."""
    value = unscaled(value)
    if value.name == "sub":
        source, less = through(value.operands[0], CAST), value.operands[1]
        if less.is_constant or _mean_of(less) is source:
            return source
    return value


def _number(value: Value) -> float | None:
    constant = through(value, CAST, SHAPE)
    return float(constant.equation.val) if constant.name == "literal" else None
