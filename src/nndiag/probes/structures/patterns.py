"""Looking through what does not change the meaning of a value."""

from __future__ import annotations

from collections.abc import Iterator

from nndiag.probes.structures.graph import Value

CAST = frozenset(
    {"convert_element_type", "copy", "stop_gradient", "reduce_precision", "copy_p"}
)
SHAPE = frozenset(
    {"broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose"}
)


def through(value: Value, *names: frozenset[str]) -> Value:
    """What `value` was before these operations were applied to it."""
    passed = frozenset[str]().union(*names)
    while value.name in passed:
        value = value.operands[0]
    return value


def unselected(value: Value) -> Value:
    """What a mask was applied to: the one case of a select that is no constant."""
    while True:
        value = through(value, CAST)
        if value.name != "select_n":
            return value
        cases = [case for case in value.operands[1:] if not case.is_constant]
        if len(cases) != 1:
            return value
        value = cases[0]


def pair_with_weight(value: Value, *names: str) -> Value | None:
    """The operand that carries the signal, if the other of two is a weight."""
    if value.name not in names or len(value.operands) != 2:
        return None
    first, second = value.operands
    if second.fact.weight and not first.fact.weight:
        return first
    if first.fact.weight and not second.fact.weight:
        return second
    return None


def unscaled(value: Value, *names: frozenset[str]) -> Value:
    """What was multiplied or divided by a weight or a number."""
    while True:
        value = through(value, CAST, *names)
        first = pair_with_weight(value, "mul")
        if first is None and value.name == "div" and value.operands[1].fact.weight:
            first = value.operands[0]
        if first is None:
            return value
        value = first


def unshifted(value: Value, *names: frozenset[str]) -> Value:
    """What a number (an ε) was added to, or bounds it from below."""
    while True:
        value = through(unselected(value), CAST, *names)
        first = pair_with_weight(value, "add", "max", "sub")
        if first is None or (value.name == "sub" and first is not value.operands[0]):
            if value.name == "select_n":
                return value
            if first is None and value.name not in CAST.union(*names):
                return value
            if first is None:
                continue
            return value
        value = first


def orders(value: Value) -> Iterator[tuple[Value, Value]]:
    """The two operands of `value`, in either order."""
    first, second = value.operands
    yield first, second
    yield second, first
