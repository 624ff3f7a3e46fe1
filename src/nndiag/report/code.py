"""Lines of the user's source, with a finger on the place and what to write instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nndiag.records import Autopsy
from nndiag.report.blocks import CodeFrame, Finger
from nndiag.report.units import printable
from nndiag.rules import autopsied

_LONGEST = 300
"""Characters shown of a line of source at most."""


def summary(autopsy: Autopsy) -> CodeFrame | None:
    """The autopsy in a few lines of code: where, of which number, what instead.

    Returns:
        The line to rewrite, which is that of the fault or that of its origin; `None`
        if it could not be read.
    """
    shown, lines = _instead(autopsy)
    known = frames(autopsy)[:: -1 if shown is autopsy else 1]
    found = next((frame for frame in known if frame.line == shown.line), None)
    return replace(found, instead=lines) if found else mend(autopsy)


def frames(autopsy: Autopsy) -> tuple[CodeFrame, ...]:
    """The lines of the origin and of the fault, once if they are the same."""
    origin = autopsy.origin
    if origin is None:
        stages = [[autopsy]]
    elif same_line(origin, autopsy):
        stages = [[origin, autopsy]]
    else:
        stages = [[origin], [autopsy]]
    return tuple(_point(stage) for stage in stages if stage[-1].source.strip())


def mend(autopsy: Autopsy) -> CodeFrame | None:
    """The line of source beside the lines to write instead."""
    shown, lines = _instead(autopsy)
    if not lines:
        return None
    return CodeFrame(
        place=printable(autopsied.place(shown)),
        line=shown.line,
        source=_cut(printable(shown.source.rstrip()), 0),
        instead=lines,
    )


def location(autopsy: Autopsy) -> str:
    """``"train.py:41:12"``, without what is unknown.

    Example:
        "train.py:41:12", "train.py:41", ""
    """
    column = f":{autopsy.column}" if autopsy.column else ""
    at = autopsied.place(autopsy)
    return printable(f"{at}{column}") if at else ""


def same_line(one: Autopsy, other: Autopsy) -> bool:
    """Whether two equations come from one line of source."""
    return (one.file, one.line) == (other.file, other.line)


def _point(equations: Sequence[Autopsy]) -> CodeFrame:
    """A line of source with a finger on each of its equations."""
    autopsy = equations[-1]
    source = printable(autopsy.source.rstrip()).replace("\t", " ")
    carets = [_caret(equation, len(source)) for equation in equations]
    # of a line without end only the part around the first place
    start = max(0, (carets[0] or 0) - _LONGEST // 2)
    return CodeFrame(
        place=location(autopsy),
        line=autopsy.line,
        source=_cut(source, start),
        fingers=tuple(
            Finger(
                None if caret is None else caret - start, printable(_label(equation))
            )
            for caret, equation in zip(carets, equations, strict=True)
        ),
    )


def _caret(autopsy: Autopsy, length: int) -> int | None:
    if autopsy.indent is None or not autopsy.column:
        return None
    caret = autopsy.column - 1 - autopsy.indent
    return caret if 0 <= caret < length else None


def _label(autopsy: Autopsy) -> str:
    kind = autopsied.KINDS[autopsy.kind]
    backward = " of its gradient" if autopsy.direction == "backward" else ""
    return f"{autopsy.primitive}{backward} made {kind}{autopsied.given(autopsy)}"


def _instead(autopsy: Autopsy) -> tuple[Autopsy, tuple[str, ...]]:
    shown, lines = autopsied.instead(autopsy)
    return shown, tuple(printable(line) for line in lines)


def _cut(source: str, start: int) -> str:
    """At most `_LONGEST` characters of a line, marked where it goes on."""
    part = source[start : start + _LONGEST]
    part = f"…{part[1:]}" if start else part
    return f"{part[:-1]}…" if start + _LONGEST < len(source) else part
