"""Writes the autopsy of an event."""

from __future__ import annotations

import linecache
from collections.abc import Sequence
from typing import Any

import numpy as np

from nndiag.jaxprs.primitives import ELEMENTWISE
from nndiag.records import Autopsy, Direction, Link, Operand
from nndiag.replay.birth import Birth
from nndiag.replay.causes import explain
from nndiag.replay.context import SHARD
from nndiag.replay.detection import STRUCTURAL, is_float
from nndiag.replay.provenance import Event, Node
from nndiag.replay.shards import maker_of_shard, pick, shard_of, with_shard

_SHOWN = 16
"""Elements listed in an autopsy, at most."""
_LINKS = 12
"""Links of a chain that are kept, at most: the first and the last of them."""


def birth_of(event: Event, origin: Birth | None = None) -> Birth:
    """An event as the causes read it; of a stacked one, its first bad shard."""
    context, equation = event.context, event.equation
    assert context is not None
    operands, result, bad, maker = (
        event.operands,
        event.result,
        event.bad,
        event.maker,
    )
    path = context.path
    if context.mesh:
        mesh = context.mesh
        shard = shard_of(bad, mesh)
        path = with_shard(path, shard)
        operands = tuple(pick(operand, shard, mesh) for operand in operands)
        result, bad = pick(result, shard, mesh), pick(bad, shard, mesh)
        maker = maker_of_shard(maker, shard, mesh)
    location, file, column = context.locate(equation)
    line = linecache.getline(file, location.line)
    return Birth(
        kind=event.kind,
        equation=equation,
        operands=operands,
        result=result,
        bad=bad,
        location=location,
        column=column,
        source=line.strip(),
        direction=_direction(context.is_backward(equation)),
        path=path,
        origin=origin,
        maker=maker or (lambda variable: None),
        indent=len(line) - len(line.lstrip()),
    )


def describe(
    birth: Birth,
    *,
    origin: Autopsy | None = None,
    chain: Sequence[Node] = (),
    reaches_output: bool,
    output: str = "",
    notes: Sequence[str] = (),
) -> Autopsy:
    """The autopsy of a birth, with its cause."""
    cause, rewrite = explain(birth, reaches_output=reaches_output)
    elements = np.argwhere(birth.bad)
    primitive = birth.equation.primitive.name
    # Elsewhere an element of the result was not made of that of the operand.
    bad = birth.bad if primitive in ELEMENTWISE else None
    return Autopsy(
        kind=birth.kind,
        primitive=primitive,
        file=birth.location.file,
        line=birth.location.line,
        column=birth.column,
        source=birth.source,
        indent=birth.indent,
        direction=birth.direction,
        scope=birth.location.scope,
        path=birth.path,
        elements=_indices(elements),
        count=len(elements),
        operands=tuple(_operand(value, bad) for value in birth.operands),
        result=_operand(birth.result, birth.bad),
        origin=origin,
        chain=_links(chain, birth),
        reaches_output=reaches_output,
        output=output,
        cause=cause,
        rewrite=rewrite,
        notes=tuple(notes),
        values={
            **{f"operand_{i}": value for i, value in enumerate(birth.operands)},
            "result": birth.result,
        },
    )


def describe_argument(
    event: Event, *, reaches_output: bool, output: str, notes: Sequence[str]
) -> Autopsy:
    """The autopsy of an argument that was bad before the program began."""
    elements = np.argwhere(event.bad)
    word = "NaN" if event.kind == "nan" else "Inf"
    count, total = len(elements), event.bad.size
    share = f"{count} of its {total} elements" if total > 1 else "it"
    first = f", the first at {_indices(elements)[0]}" if total > 1 else ""
    verb = "are" if total > 1 and count > 1 else "is"
    return Autopsy(
        kind=event.kind,
        primitive="input",
        file="",
        line=0,
        column=0,
        source="",
        direction="forward",
        scope="",
        path=(),
        elements=_indices(elements),
        count=count,
        operands=(),
        result=_operand(event.result, event.bad),
        reaches_output=reaches_output,
        output=output,
        argument=event.argument,
        cause=f"{event.argument} came in bad: {share} {verb} {word}{first}.",
        rewrite="look at what made this value: data, a loaded file or an earlier step",
        notes=tuple(notes),
        values={"result": event.result},
    )


def _indices(elements: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(i) for i in element) for element in elements[:_SHOWN])


def _direction(backward: bool) -> Direction:
    return "backward" if backward else "forward"


def _operand(value: Any, bad: Any | None) -> Operand:
    if not isinstance(getattr(value, "dtype", None), np.dtype):
        return Operand(
            dtype=str(getattr(value, "dtype", type(value).__name__)),
            shape=tuple(np.shape(value)),
            low=float("nan"),
            high=float("nan"),
        )
    array = np.asarray(value)
    sized = np.abs(array) if np.iscomplexobj(array) else array
    finite = sized[np.isfinite(sized)] if is_float(array) else sized.ravel()
    return Operand(
        dtype=str(array.dtype),
        shape=array.shape,
        low=float(finite.min()) if finite.size else float("nan"),
        high=float(finite.max()) if finite.size else float("nan"),
        nans=int(np.isnan(array).sum()) if is_float(array) else 0,
        infs=int(np.isinf(array).sum()) if is_float(array) else 0,
        values=() if bad is None else _values_at(sized, bad),
    )


def _values_at(array: Any, bad: Any) -> tuple[float, ...]:
    """The values at the offending elements, none where the shapes do not match."""
    try:
        spread = np.broadcast_to(array, bad.shape)
    except ValueError:
        return ()
    return tuple(float(value) for value in spread[bad][:_SHOWN])


def _links(chain: Sequence[Node], birth: Birth) -> tuple[Link, ...]:
    shard = next((part for part in birth.path if part.startswith(f"{SHARD}[")), "")
    links: list[Link] = []
    told: set[int] = set()
    for node in chain:
        name = node.equation.primitive.name
        # An equation that hands it on in each iteration is told of once.
        if id(node.equation) in told or (links and name in STRUCTURAL):
            continue
        told.add(id(node.equation))
        location, _, _ = node.context.locate(node.equation)
        path = node.context.path
        link = Link(
            kind=node.kind,
            primitive=name,
            direction=_direction(node.context.is_backward(node.equation)),
            file=location.file,
            line=location.line,
            path=tuple(shard or part if part == SHARD else part for part in path),
        )
        if link not in links:
            links.append(link)
    if len(links) > _LINKS:
        links = [*links[: _LINKS // 2], *links[-_LINKS // 2 :]]
    return tuple(links)
