"""Where the NaN and Inf elements of a value come from, element by element.

Each bad element carries a *label*, the number of a set of events. Most arrays carry
one label for all their bad elements, kept as a plain integer; only where events meet
in one array is it an array of labels of the same shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from nndiag.jaxprs.primitives import ELEMENTWISE
from nndiag.records import Kind
from nndiag.replay.context import Context
from nndiag.replay.detection import (
    STRUCTURAL,
    host,
    is_finite,
    is_float,
)

CLEAN = 0
GIVEN = 1
"""Label of an Inf that stands in the program as a literal or constant."""

Labels = Any
"""`CLEAN`, the one label of all bad elements, or an int32 array of labels."""


@dataclass(frozen=True, eq=False)
class Node:
    """A bad value on its way: the equation that handed it on, and what it read."""

    kind: Kind
    equation: Any
    context: Context
    parents: tuple[Node, ...]
    events: frozenset[int]


class Value(NamedTuple):
    """An array of the replayed program with the labels of its bad elements."""

    data: Any
    labels: Labels = CLEAN
    node: Node | None = None


@dataclass(eq=False)
class Event:
    """A NaN or Inf that was made, or came in as an argument.

    Attributes:
        kind: which.
        equation: that made it, `None` for an argument.
        operands: its inputs.
        result: the bad output, or the argument.
        bad: which elements of `result`; none if it turned out not to count.
        context: around the equation, `None` for an argument.
        origins: numbers of the earlier events that it fell over.
        maker: as in `Birth`.
        argument: path of the argument.
        node: its place among the links.
        fates: how it ended where it did (see `detection.fate`).
    """

    kind: Kind
    equation: Any
    operands: tuple[Any, ...]
    result: Any
    bad: Any
    context: Context | None
    origins: frozenset[int] = frozenset()
    maker: Any = None
    argument: str = ""
    node: Node | None = None
    fates: set[str] = field(default_factory=set[str])


class Story:
    """All events of a replay, and the sets of them that labels stand for."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.notes: list[str] = []
        self._sets: list[frozenset[int]] = [frozenset(), frozenset()]
        self._numbers: dict[frozenset[int], int] = {}

    def add(self, event: Event) -> int:
        """Records an event; returns its number."""
        self.events.append(event)
        return len(self.events) - 1

    def note(self, sentence: str) -> None:
        """Remembers what the replay could not enter, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def label(self, events: frozenset[int]) -> int:
        """The label of a set of events."""
        if not events:
            return GIVEN
        if events not in self._numbers:
            self._numbers[events] = len(self._sets)
            self._sets.append(events)
        return self._numbers[events]

    def behind(self, labels: Labels) -> frozenset[int]:
        """The events that the labels of a value stand for."""
        if isinstance(labels, np.ndarray):
            present = np.unique(labels)
            return frozenset().union(*(self._sets[number] for number in present))
        return self._sets[labels]

    def with_origins(self, events: Iterable[int]) -> frozenset[int]:
        """The events and all that led to them."""
        found: set[int] = set()
        open_ends = list(events)
        while open_ends:
            number = open_ends.pop()
            if number not in found and self.events[number].bad.any():
                found.add(number)
                open_ends.extend(self.events[number].origins)
        return frozenset(found)


def given(data: Any) -> Value:
    """A literal or constant of the program; an Inf in it is nobody's fault."""
    return Value(data, CLEAN if is_finite(data) else GIVEN)


def simplify(labels: Labels) -> Labels:
    """One integer instead of an array wherever all bad elements agree."""
    if not isinstance(labels, np.ndarray):
        return labels
    present = np.unique(labels[labels != CLEAN])
    return labels if present.size > 1 else int(present[0]) if present.size else CLEAN


def spread(value: Value) -> np.ndarray[Any, Any]:
    """The labels of a value as an array of its shape."""
    if isinstance(value.labels, np.ndarray):
        return value.labels
    data = host(value.data)
    if value.labels == CLEAN or not is_float(data):
        return np.zeros(data.shape, np.int32)
    return np.where(np.isfinite(data), CLEAN, value.labels).astype(np.int32)


def inherit(
    story: Story,
    equation: Any,
    inputs: Sequence[Value],
    result: np.ndarray[Any, Any],
    number: int,
    bind: Callable[[Any, Sequence[Any]], list[Any]],
) -> Labels:
    """Labels of the bad elements of output `number` that came in by `inputs`."""
    suspects = [value for value in inputs if not _is_clean(value)]
    if not suspects:
        return GIVEN
    first = suspects[0].labels
    if not isinstance(first, np.ndarray) and all(
        not isinstance(value.labels, np.ndarray) and value.labels == first
        for value in suspects
    ):
        return first
    name = equation.primitive.name
    bad = ~np.isfinite(result)
    if name in STRUCTURAL:
        moved = bind(
            equation,
            [spread(v) if is_float(v.data) else v.data for v in inputs],
        )
        return np.where(bad, np.asarray(moved[number]), CLEAN)
    if name in ELEMENTWISE:
        return _by_element(equation, inputs, result, bad)
    nan = story.label(_events_of(story, suspects, np.isnan))
    every = story.label(_events_of(story, suspects, lambda data: ~np.isfinite(data)))
    return np.where(bad, np.where(np.isnan(result), nan, every), CLEAN)


def _is_clean(value: Value) -> bool:
    return not isinstance(value.labels, np.ndarray) and value.labels == CLEAN


def _events_of(
    story: Story, values: Sequence[Value], chosen: Callable[[Any], Any]
) -> frozenset[int]:
    """The events behind the chosen elements of `values`, of all if there are none."""
    picked = [spread(value)[chosen(host(value.data))] for value in values]
    events = frozenset[int]().union(*(story.behind(labels) for labels in picked))
    return events or frozenset().union(*(story.behind(v.labels) for v in values))


def _by_element(
    equation: Any, inputs: Sequence[Value], result: Any, bad: Any
) -> np.ndarray[Any, Any]:
    """Each element's label is that of the operand element which spoilt it."""
    shape = result.shape

    def fit(array: Any) -> Any:
        array = np.asarray(array)
        return np.broadcast_to(
            array.reshape(array.shape + (1,) * (len(shape) - array.ndim)), shape
        )

    floats = [value for value in inputs if is_float(value.data)]
    if equation.primitive.name == "select_n":
        which = fit(inputs[0].data).astype(int)
        stacked = np.stack([fit(spread(value)) for value in inputs[1:]])
        labels = np.take_along_axis(stacked, which[None], 0)[0]
        # A NaN that a literal NaN takes the place of is still that NaN.
        replaced = (labels == GIVEN) & np.isnan(result)
        labels = np.where(replaced, stacked.max(axis=0), labels)
        return np.where(bad, labels, CLEAN)
    labels = np.zeros(shape, np.int32)
    for value in floats:
        spoilt = fit(np.isnan(host(value.data))) & np.isnan(result) & (labels == CLEAN)
        labels = np.where(spoilt, fit(spread(value)), labels)
    for value in floats:
        labels = np.where(labels == CLEAN, fit(spread(value)), labels)
    return np.where(bad, labels, CLEAN)


def reaching(
    story: Story, inputs: Sequence[Value], made: Any, equation: Any
) -> frozenset[int]:
    """Events that a birth at the elements `made` fell over."""
    found: set[int] = set()
    for value in inputs:
        if _is_clean(value):
            continue
        labels = value.labels
        if equation.primitive.name in ELEMENTWISE and isinstance(labels, np.ndarray):
            shaped = labels.reshape(labels.shape + (1,) * (made.ndim - labels.ndim))
            labels = np.broadcast_to(shaped, made.shape)[made]
        elif equation.primitive.name in ELEMENTWISE:
            data = host(value.data)
            shaped = data.reshape(data.shape + (1,) * (made.ndim - data.ndim))
            if np.isfinite(np.broadcast_to(shaped, made.shape)[made]).all():
                continue
        found |= story.behind(labels)
    return frozenset(found)
