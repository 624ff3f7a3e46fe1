"""Overflows to -Inf that mask: softmax makes 0 of them, as it would of their value."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from nndiag.replay.detection import STRUCTURAL
from nndiag.replay.provenance import Event, Node

_EXPONENTIALS = frozenset({"exp", "exp2", "logistic"})
_ON_THE_WAY = STRUCTURAL | {
    "add",
    "convert_element_type",
    "copy",
    "copy_p",
    "max",
    "reduce_max",
    "select_n",
    "sub",
}


def is_mask(event: Event, number: int, primitive: str, nodes: Iterable[Node]) -> bool:
    """Whether an exponential makes 0 of a -Inf that was only added to and moved.

    Args:
        event: what ends there.
        number: of the event.
        primitive: in which it ends.
        nodes: what that equation read.
    """
    if event.kind != "inf" or primitive not in _EXPONENTIALS:
        return False
    if not np.isneginf(np.asarray(event.result)[event.bad]).all():
        return False
    queue = list(nodes)
    seen: set[int] = set()
    for node in queue:
        if node is event.node or id(node) in seen or number not in node.events:
            continue
        seen.add(id(node))
        if node.equation.primitive.name not in _ON_THE_WAY:
            return False
        queue.extend(node.parents)
    return True
