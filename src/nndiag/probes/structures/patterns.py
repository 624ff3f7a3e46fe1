"""Looking through what does not change the meaning of a value."""

from __future__ import annotations

from collections.abc import Iterator

from nndiag.probes.structures.graph import Value

CAST = frozenset(
    {"convert_element_type", "copy", "pvary", "stop_gradient", "reduce_precision"}
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
        inner = through(value, CAST, *names)
        if inner.name == "div" and inner.operands[1].fact.weight:
            inner = inner.operands[0]
        inner = pair_with_weight(inner, "mul") or inner
        if inner is value:
            return value
        value = inner


def unshifted(value: Value, *names: frozenset[str]) -> Value:
    """What a number (an ε) was added to, or bounds it from below."""
    while True:
        inner = through(unselected(value), CAST, *names)
        inner = pair_with_weight(inner, "add", "max") or inner
        if inner is value:
            return value
        value = inner


def same(one: Value, other: Value) -> bool:
    """Whether two values are equal: one, or an exponential that is computed twice."""
    if one is other:
        return True
    if one.name != other.name or one.name not in {"exp", "exp2", "sub"}:
        return False
    return all(map(same, one.operands, other.operands))


def orders(value: Value) -> Iterator[tuple[Value, Value]]:
    """The two operands of `value`, in either order."""
    first, second = value.operands
    yield first, second
    yield second, first
