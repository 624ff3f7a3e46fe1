"""An autopsy in words: the line, the numbers, the way of the fault, what to write."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from nndiag.records import Autopsy, Link, Operand
from nndiag.report.blocks import AutopsyCard, Cell, Table
from nndiag.report.code import frames, location, mend
from nndiag.report.picture import Flow, Node
from nndiag.report.units import count, printable
from nndiag.rules import autopsied
from nndiag.rules.words import precise

_OPERANDS = 8
"""Operands in the table at most."""

_ELEMENTS = 4
"""Elements that are named one by one, of the at most 16 that are known."""

_STATIONS = 8
"""Stations of the chain at most: the middle of a longer one is left out."""

_PATH = re.compile(r"(\w+)\[(\d+)\]|(\w+)\.branch_?(\d+)")


def tell(autopsy: Autopsy, *, step: int | None = None) -> AutopsyCard:
    """All that a replay found, in the order in which to read it.

    Args:
        autopsy: from a replay, or read back from a run.
        step: the step that was replayed, `None` for a function of one's own.
    """
    words = autopsied.remedies(autopsy)
    mended = mend(autopsy)
    return AutopsyCard(
        level="error" if autopsy.reaches_output else "warning",
        title=_sentence(autopsied.story(autopsy)),
        when="" if step is None else f"step {step:,}",
        frames=frames(autopsy),
        facts=tuple((name, printable(text)) for name, text in _facts(autopsy)),
        operands=_operands(autopsy),
        chain=_chain(autopsy, "chain" if step is None else f"chain-{step}"),
        cause=printable(autopsied.cause(autopsy)),
        rewrite=mended,
        advice=printable(words[0]) if words and mended is None else "",
        notes=tuple(map(printable, autopsy.notes)),
    )


def place(autopsy: Autopsy) -> str:
    """Where in the program: scope, equation, control flow and pass.

    Example:
        "exp in hidden_2, iteration 7 of the scan, in the backward pass"
    """
    if autopsy.primitive == "input":
        return printable(autopsy.argument or "an argument")
    scope = f" in {autopsy.scope}" if autopsy.scope else ""
    parts = [f"{autopsy.primitive}{scope}", *_route(autopsy.path)]
    if autopsy.direction == "backward":
        parts.append("in the backward pass")
    return printable(", ".join(parts))


def _sentence(clause: str) -> str:
    return f"{printable(clause)}."


def _facts(autopsy: Autopsy) -> Iterator[tuple[str, str]]:
    if autopsy.argument:
        yield "Argument", autopsy.argument
    else:
        yield "Equation", f"{autopsy.primitive}, {autopsy.direction} pass"
    if location(autopsy) and not autopsy.source:
        yield "Line", location(autopsy)
    if autopsy.scope:
        yield "Scope", autopsy.scope
    if autopsy.path:
        yield "Path", f"{', '.join(_route(autopsy.path))} ({' / '.join(autopsy.path)})"
    yield "Elements", _elements(autopsy)
    if autopsy.origin is not None:
        at = ", ".join(_route(autopsy.origin.path))
        yield "Origin", f"{autopsied.made(autopsy.origin)}{f', {at}' if at else ''}"
    if not autopsy.reaches_output:
        yield "Output", "does not show it"
    elif autopsy.output:
        yield "Output", f"reaches {autopsy.output}"
    if autopsy.compiler:
        yield "Compiler", "involved: equation by equation all is finite"


def _route(path: Sequence[str]) -> list[str]:
    """Each part of the control flow in words, innermost first."""

    def words(part: str) -> str:
        found = _PATH.fullmatch(part)
        if found is None:
            return part
        loop, iteration, choice, branch = found.groups()
        if choice is not None:
            return f"branch {branch} of the {choice}"
        if loop == "shard":
            return f"shard {iteration}"
        return f"iteration {int(iteration):,} of the {loop}"

    return [words(part) for part in reversed(path)]


def _elements(autopsy: Autopsy) -> str:
    shape = autopsy.result.shape
    if not shape:
        return "the scalar"
    named = [f"[{', '.join(map(str, at))}]" for at in autopsy.elements[:_ELEMENTS]]
    more = autopsy.count - len(named)
    listed = ", ".join(named) + (f" and {more:,} more" if more > 0 and named else "")
    total = f"{autopsy.count:,} of {_shape(shape)}"
    return f"{listed} ({total})" if listed else total


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "scalar"


def _operands(autopsy: Autopsy) -> Table | None:
    if autopsy.primitive == "input":
        rows = [("value", autopsy.result)]
    else:
        shown = autopsy.operands[:_OPERANDS]
        rows = [(f"operand {index}", one) for index, one in enumerate(shown, start=1)]
        rows.append(("result", autopsy.result))
    more = autopsy.operands[_OPERANDS:] if autopsy.primitive != "input" else ()
    bad = sum(1 for one in more if one.nans or one.infs)
    note = (
        f"{count(len(more), 'more operand')}, {bad or 'none'} of them with NaN or Inf."
    )
    return Table(
        columns=("Array", "Type", "Shape", "Range", "NaN", "Inf", "At the elements"),
        rows=tuple(_row(name, one) for name, one in rows),
        note=note if more else "",
    )


def _row(name: str, one: Operand) -> tuple[Cell, ...]:
    known = one.low == one.low and one.high == one.high
    span = f"{precise(one.low)} to {precise(one.high)}" if known else "–"
    values = [precise(value) for value in one.values[:3]]
    more = ", …" if len(one.values) > len(values) else ""
    return (
        Cell(name),
        Cell(printable(one.dtype)),
        Cell(_shape(one.shape)),
        Cell(precise(one.low) if known and one.low == one.high else span),
        Cell(f"{one.nans:,}", "error" if one.nans else None),
        Cell(f"{one.infs:,}", "warning" if one.infs else None),
        Cell(", ".join(values) + more or "–"),
    )


def _chain(autopsy: Autopsy, name: str) -> Flow | None:
    """The way from the origin to the symptom; one station alone is no way."""
    ends = filter(None, (autopsy.origin, autopsy))
    stations = [_node(link) for link in autopsy.chain or map(_link, ends)]
    if len(stations) < 2:
        return None
    half = _STATIONS // 2
    if len(stations) > _STATIONS:
        left = len(stations) - 2 * half
        gap = Node(state="", name=f"… {left:,} more")
        stations = [*stations[:half], gap, *stations[-half:]]
    output = f"output {printable(autopsy.output)}".strip()
    end = output if autopsy.reaches_output else "hidden from the output"
    nodes = (*stations, Node(state="", name=end))
    told = "; ".join(
        " ".join(filter(None, (node.state, node.name, node.place))) for node in nodes
    )
    return Flow(
        name=name,
        title=f"From the first {stations[0].state} to the symptom",
        hint="Each equation handed it to the next.",
        alternative=f"Chain of {len(nodes)} stations: {told}.",
        nodes=nodes,
    )


def _link(autopsy: Autopsy) -> Link:
    return Link(
        kind=autopsy.kind,
        primitive=autopsy.primitive,
        direction=autopsy.direction,
        file=autopsy.file,
        line=autopsy.line,
        path=autopsy.path,
    )


def _node(link: Link) -> Node:
    at = f"{link.file}:{link.line}" if link.file else ""
    backward = "backward pass" if link.direction == "backward" else ""
    parts = filter(None, (at, " / ".join(link.path), backward))
    return Node(
        state=autopsied.KINDS[link.kind],
        name=printable(link.primitive),
        place=printable(", ".join(parts)),
    )
