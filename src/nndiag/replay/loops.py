"""Replays `scan` and `while`: short ones step by step, long ones by searching.

In a long loop only the iterations that a compiled search stops at are replayed; what
lies between them is run compiled, and bad values keep the labels they had.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from nndiag.replay import lanes
from nndiag.replay.context import Context
from nndiag.replay.detection import host, is_finite, is_float
from nndiag.replay.entering import size
from nndiag.replay.provenance import (
    CLEAN,
    Node,
    Story,
    Value,
    simplify,
    spread,
)
from nndiag.replay.searching import Search, describe

if TYPE_CHECKING:
    from nndiag.replay.walking import Walker

_BUDGET = 2000
"""Equations that are evaluated one by one before a compiled search is worth it."""
_TRIED = 32
"""Iterations of a `while`, whose length nobody knows, before a search is compiled."""


def replay(
    walker: Walker, equation: Any, inputs: Sequence[Value], context: Context
) -> list[Value]:
    """The outputs of a loop, each with its labels."""
    return _Loop(walker, equation, inputs, context).run()


class _Loop:
    def __init__(
        self, walker: Walker, equation: Any, inputs: Sequence[Value], context: Context
    ) -> None:
        self.walker = walker
        self.equation = equation
        self.inputs = inputs
        self.context = context
        self.inner = context.inside(equation)
        self.program = program = describe(equation)
        rest = list(inputs)
        self.asked = _take(rest, program.asked)
        self.fixed = _take(rest, program.fixed)
        self.carry = _take(rest, program.carried)
        self.rows = rest
        self.index = 0
        self.going: Any = None
        self.replayed: dict[int, list[Value]] = {}
        self.first_event = len(walker.story.events)

    def run(self) -> list[Value]:
        program = self.program
        affordable = max(4, _BUDGET // max(1, size(program.body)))
        if self.context.mesh:
            affordable *= 4
        if program.length is None:
            tries = affordable if self.context.mesh else min(affordable, _TRIED)
            return self._run_while(tries)
        if 0 < program.length <= affordable:
            for _ in range(program.length):
                self._step()
            rows = [self.replayed[position] for position in range(program.length)]
            return [
                *self.carry,
                *(self._stack(column) for column in zip(*rows, strict=True)),
            ]
        if self.context.mesh or program.length == 0:
            return self._evaluate_whole()
        whole = self.context.bind(self.equation, [v.data for v in self.inputs])
        self._search()
        columns = zip(range(len(whole)), whole[program.carried :], strict=False)
        return [*self.carry, *(self._column(n, data) for n, data in columns)]

    def _run_while(self, tries: int) -> list[Value]:
        goes_on = self._goes_on()
        while goes_on and self.index < tries:
            self._step()
            goes_on = self._goes_on()
        if goes_on is None or (goes_on and self.context.mesh):
            return self._evaluate_whole()
        if goes_on:
            self._search()
        return self.carry

    def _evaluate_whole(self) -> list[Value]:
        """A loop of no iterations, or one too long to follow across shards."""
        if self.program.length != 0:
            name = self.equation.primitive.name
            self._story.note(
                f"a {name} whose shards exchange values was too long to enter "
                "and was evaluated whole"
            )
        whole = self.context.bind(self.equation, [v.data for v in self.inputs])
        return self.walker.settle(self.equation, self.inputs, whole, self.context)

    def _goes_on(self) -> bool | None:
        """Whether the condition holds in any lane; `None` where shards differ."""
        arguments = [*self.asked, *self.carry]
        first = len(self._story.events)
        (answer,) = self.walker.walk(
            self.program.condition, arguments, self._at(self.index)
        )
        # A lane that has stopped is asked again only because others go on.
        lanes.withdraw(self._story, first, self.going)
        self.going = np.asarray(answer.data)
        shards = self.going.reshape(*self.context.mesh, -1).any(axis=-1)
        return bool(shards.all()) if shards.all() == shards.any() else None

    def _at(self, position: int) -> Context:
        part = f"{self.equation.primitive.name}[{position}]"
        return self.inner._replace(path=(*self.inner.path, part))

    def _step(self) -> None:
        """Replays the next iteration, of the lanes that go on."""
        first = len(self._story.events)
        position = self.index
        if self.program.length is not None and self.program.reverse:
            position = self.program.length - 1 - self.index
        axis = len(self.context.mesh)
        row = [_slice(value, position, axis) for value in self.rows]
        outputs = self.walker.walk(
            self.program.body, [*self.fixed, *self.carry, *row], self._at(position)
        )
        carry = outputs[: self.program.carried]
        if self.going is not None and not self.going.all():
            lanes.withdraw(self._story, first, self.going)
            carry = [
                lanes.advance(self.going, new, old)
                for new, old in zip(carry, self.carry, strict=True)
            ]
        self.carry = carry
        self.replayed[position] = outputs[self.program.carried :]
        self.index += 1

    def _search(self) -> None:
        search = Search(self.program)
        fixed, asked, rows = (
            [value.data for value in values]
            for values in (self.fixed, self.asked, self.rows)
        )
        while True:
            carry = [value.data for value in self.carry]
            stop = search.next(fixed, asked, rows, carry, self.index)
            if stop.done > self.index:
                self.carry = [
                    self._carried_on(old, new)
                    for old, new in zip(self.carry, stop.carry, strict=True)
                ]
            self.index = stop.done
            if not stop.found:
                return
            if self.program.length is None:
                self.going = None
                self._goes_on()
            self._step()

    @property
    def _story(self) -> Story:
        return self.walker.story

    def _pool(self) -> tuple[frozenset[int], tuple[Node, ...]]:
        """What a bad value of unknown descent may come from."""
        values = [*self.carry, *self.fixed, *self.rows]
        nodes = tuple(value.node for value in values if value.node is not None)
        events = frozenset[int]().union(*(self._story.behind(v.labels) for v in values))
        here = range(self.first_event, len(self._story.events))
        return events or frozenset(here), nodes

    def _carried_on(self, old: Value, data: Any) -> Value:
        """A carried value after iterations that ran compiled."""
        if is_finite(data):
            return Value(data)
        events, nodes = self._pool()
        if old.node is not None:
            events, nodes = self._story.behind(old.labels), (old.node,)
        return Value(data, self._story.label(events), self._node(data, nodes, events))

    def _node(
        self, data: Any, parents: tuple[Node, ...], events: frozenset[int]
    ) -> Node:
        kind = "nan" if np.isnan(host(data)).any() else "inf"
        return Node(kind, self.equation, self.context, parents, events)

    def _stack(self, column: Sequence[Value]) -> Value:
        """The rows of a short scan as one value."""
        axis = len(self.context.mesh)
        data = _stacked([value.data for value in column], axis)
        if all(value.node is None for value in column) and is_finite(data):
            return Value(data)
        labels = simplify(np.stack([spread(value) for value in column], axis))
        nodes = tuple(value.node for value in column if value.node is not None)
        return Value(data, labels, self._node(data, nodes, self._story.behind(labels)))

    def _column(self, number: int, data: Any) -> Value:
        """One scanned output of a long scan, of which some rows were replayed."""
        if is_finite(data):
            return Value(data)
        bad = ~np.isfinite(host(data))
        labels = np.zeros(bad.shape, np.int32)
        events, nodes = self._pool()
        current: Any = self._story.label(events)
        positions = np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1))
        for position in positions[:: -1 if self.program.reverse else 1]:
            if position in self.replayed:
                row = self.replayed[position][number]
                labels[position] = spread(row)
                current = self._story.label(self._story.behind(row.labels))
                nodes = (row.node, *nodes) if row.node is not None else nodes
            else:
                labels[position] = np.where(bad[position], current, CLEAN)
        final = simplify(labels)
        return Value(data, final, self._node(data, nodes, self._story.behind(final)))


def _take(values: list[Value], count: int) -> list[Value]:
    taken = values[:count]
    del values[:count]
    return taken


def _slice(value: Value, position: int, axis: int) -> Value:
    where = (slice(None),) * axis + (position,)
    plain = is_float(value.data) or isinstance(value.data, np.ndarray)
    data = np.asarray(host(value.data)[where]) if plain else value.data[where]
    if isinstance(value.labels, np.ndarray):
        labels = simplify(value.labels[where])
    else:
        labels = CLEAN if is_finite(data) else value.labels
    return Value(data, labels, None if is_finite(data) else value.node)


def _stacked(rows: Sequence[Any], axis: int) -> Any:
    if is_float(rows[0]):
        return np.stack([host(row) for row in rows], axis)
    return jnp.stack(rows, axis)
