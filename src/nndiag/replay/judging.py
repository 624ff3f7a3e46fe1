"""Chooses, among all that was born in a replay, what the autopsy is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from nndiag.records import Kind
from nndiag.replay.detection import is_pole
from nndiag.replay.provenance import Event, Node, Story, Value

LookFor = Literal["nan", "inf", "any"]


class Verdict(NamedTuple):
    """The offending event.

    Attributes:
        number: of the event.
        origin: number of the event upstream that it fell over, if any.
        output: number of the first output that it reaches, `None` if none.
    """

    number: int
    origin: int | None
    output: int | None


def judge(
    story: Story, outputs: Sequence[Value], look_for: LookFor, ignore_masked: bool
) -> Verdict | None:
    """The first event that matters, `None` if none does."""
    reached: dict[int, int] = {}
    for place, value in enumerate(outputs):
        for number in story.with_origins(story.behind(value.labels)):
            reached.setdefault(number, place)
    wanted: tuple[Kind, ...] = ("nan", "inf") if look_for == "any" else (look_for,)
    for kind in wanted:
        for number, event in enumerate(story.events):
            if event.kind == kind and number in reached:
                return _verdict(story, number, reached[number])
    for number, event in enumerate(story.events):
        counts = event.kind in wanted and event.bad.any()
        if counts and (not ignore_masked or _is_absorbed(event)):
            return _verdict(story, number, None)
    return None


def _verdict(story: Story, number: int, output: int | None) -> Verdict:
    """An argument that led to the event is to blame in its place."""
    upstream = sorted(story.with_origins(story.events[number].origins))
    for other in upstream:
        if story.events[other].equation is None:
            return Verdict(other, None, output)
    return Verdict(number, next(iter(upstream), None), output)


def _is_absorbed(event: Event) -> bool:
    """Whether something was computed with it that hides it, other than a selection."""
    if "absorbed" not in event.fates:
        return False
    if event.kind == "nan":
        return True
    return event.equation is not None and not is_pole(
        event.equation, event.operands, event.bad
    )


def way(story: Story, verdict: Verdict, output: Value | None) -> list[Node]:
    """The bad values from the origin to the symptom, in order of evaluation."""
    event = story.events[verdict.number]
    origin = None if verdict.origin is None else story.events[verdict.origin]
    before = _path(event.node, origin.node, verdict.origin) if origin else []
    if output is None:
        return before or [node for node in (event.node,) if node is not None]
    after = _path(output.node, event.node, verdict.number)
    return [*before, *after[1 if before else 0 :]]


def _path(start: Node | None, goal: Node | None, number: int | None) -> list[Node]:
    """A shortest way from `goal` down to `start`, against the direction of reading."""
    if start is None or goal is None:
        return [node for node in (goal, start) if node is not None]
    came: dict[int, Node | None] = {id(start): None}
    queue = [start]
    for node in queue:
        if node is goal:
            found: list[Node] = []
            step: Node | None = node
            while step is not None:
                found.append(step)
                step = came[id(step)]
            return found
        for parent in node.parents:
            if id(parent) not in came:
                came[id(parent)] = node
                queue.append(parent)
    return [goal, start]
