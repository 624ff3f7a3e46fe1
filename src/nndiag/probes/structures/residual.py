"""Residual branches: what is computed from a stream by layers and added to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from nndiag.probes.facts import is_layer
from nndiag.probes.structures.graph import Value, ancestors
from nndiag.probes.structures.patterns import SHAPE, unscaled

_FARTHEST = 2_000
"""Values to look at, at most, between a sum and the stream that its branch leaves."""


class Residual(NamedTuple):
    """A sum of a stream and a branch.

    Attributes:
        total: the sum.
        stream: number of the operand that is the stream, 0 or 1.
    """

    total: Value
    stream: int


def find(values: Sequence[Value]) -> Iterator[Residual]:
    """Every residual branch among the values of a loss, in forward order.

    A branch of a stream that is itself such a sum may leave it earlier, as parallel
    attention and feed-forward branches do.
    """
    trunks: dict[Value, tuple[Value, ...]] = {}
    for value in values:
        if value.name != "add" or len(value.shape) < 1:
            continue
        if not all(o.is_signal and o.shape == value.shape for o in value.operands):
            continue
        for number in (0, 1):
            stream, branch = value.operands[number], value.operands[1 - number]
            source = unscaled(stream, SHAPE)
            roots = (source, *trunks.get(source, ()))
            if _leads_from(roots, branch):
                trunks[value] = roots[:2]
                yield Residual(value, number)
                break


def _leads_from(roots: Sequence[Value], branch: Value) -> bool:
    """Whether a way with a layer on it leads from one of the roots to the branch."""
    since = min(root.number for root in roots)
    region = list(islice(ancestors(branch, since), _FARTHEST))
    reached, layered = set(roots), set[Value]()
    for value in sorted(region, key=lambda value: value.number):
        if value not in reached and not reached.isdisjoint(value.operands):
            reached.add(value)
            facts = [operand.fact for operand in value.operands]
            if is_layer(value.equation, facts) or not layered.isdisjoint(
                value.operands
            ):
                layered.add(value)
    return branch in layered
