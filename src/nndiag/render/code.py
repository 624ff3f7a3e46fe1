"""A line of source on a terminal, with a finger on the place and the line to write."""

from __future__ import annotations

from textwrap import wrap

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from nndiag.report.blocks import CodeFrame, Finger

_SIGN = 2
"""Columns of a sign and a blank, where there is a line to write instead."""

_BAR = 3
"""Columns of the bar behind the line's number."""


class Code:
    """A `CodeFrame` that fits the console: its lines are cut or wrapped, never both.

    The user's line is cut around the place, so that the caret stands below it; the
    lines to write instead are wrapped, so that they can be copied whole.
    """

    def __init__(self, frame: CodeFrame) -> None:
        self._frame = frame

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        frame = self._frame
        dots, bar = ("...", "|") if options.ascii_only else ("…", "│")
        number = str(frame.line or "")
        width = len(number)
        signed = _SIGN if frame.instead else 0
        room = max(options.max_width - width - _BAR - signed, 8)

        def line(sign: str, number: str, body: str, style: str = "") -> Text:
            gutter = f"{sign:1} {number:>{width}} {bar} "
            text = Text(
                gutter[_SIGN - signed :],
                style="" if style and sign else "dim",
                no_wrap=True,
            )
            return text.append(body, style=style or "not dim")

        if frame.source:
            caret = next((f.caret for f in frame.fingers if f.caret is not None), 0)
            start, source = _cut(frame.source, caret, room, dots)
            sign, style = ("-", "red") if frame.instead else ("", "")
            yield line(sign, number, source, style)
            for finger in frame.fingers:
                for below in _point(finger, source, start, room):
                    yield line("", "", below, "bold")
        for new in frame.instead:
            lines = wrap(
                new,
                room,
                subsequent_indent="    ",
                break_on_hyphens=False,
                drop_whitespace=True,
            )
            for part in lines or [""]:
                yield line("+", "", part, "green")


def _cut(source: str, caret: int, room: int, dots: str) -> tuple[int, str]:
    """The part of a line that fits, and the position in the line where it begins."""
    if len(source) <= room:
        return 0, source
    start = max(0, min(caret - room // 3, len(source) - room))
    part = source[start : start + room]
    if start:
        part = dots + part[len(dots) :]
    if start + room < len(source):
        part = part[: -len(dots)] + dots
    return start, part


def _point(finger: Finger, source: str, start: int, room: int) -> list[str]:
    """The caret with its label beside it: at its right, or its left, or below."""
    label = finger.label
    if finger.caret is None or not start <= finger.caret < start + len(source):
        return wrap(label, room)
    at = cell_len(source[: finger.caret - start])
    if at + 2 + len(label) <= room:
        return [f"{' ' * at}^ {label}"]
    if len(label) + 1 <= at:
        return [f"{' ' * (at - len(label) - 1)}{label} ^"]
    return [f"{' ' * at}^", *wrap(label, room)]
