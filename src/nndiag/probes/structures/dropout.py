"""Dropout: elements of a signal that random bits replace by zero."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nndiag.probes.structures.graph import Value
from nndiag.probes.structures.patterns import SHAPE, orders, through, unscaled


class Dropout(NamedTuple):
    """A dropout.

    Attributes:
        mask: what is drawn, bool; or a number that is 0 where the signal is dropped.
        kept: the value of a bool mask where the signal stays.
        result: what is left of the signal.
    """

    mask: Value
    kept: bool
    result: Value


def find(values: Sequence[Value]) -> Iterator[Dropout]:
    """Every dropout among the values of a loss, in forward order."""
    for value in values:
        if value.is_signal and not value.random:
            yield from _chosen(value)
            yield from _multiplied(value)


def _chosen(value: Value) -> Iterator[Dropout]:
    """`where(mask, x, 0)`."""
    if value.name != "select_n" or len(value.operands) != 3:
        return
    which, *cases = value.operands
    if not which.random or which.aval.dtype != bool:
        return
    constant = [case.is_constant for case in cases]
    if constant.count(True) == 1:
        yield Dropout(through(which, SHAPE), constant[0], value)


def _multiplied(value: Value) -> Iterator[Dropout]:
    """`x · mask`, with the mask as a number."""
    if value.name != "mul":
        return
    for signal, factor in orders(value):
        drawn = unscaled(factor, SHAPE)
        if not signal.random and factor.random and drawn.aval.dtype == bool:
            yield Dropout(drawn, True, value)
            return
