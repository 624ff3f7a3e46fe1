"""The layer table on a terminal, live and in the end, with bars."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from rich.table import Table
from rich.text import Text

from nndiag.render.theme import TERMINAL
from nndiag.report.blocks import Level
from nndiag.report.layers import Change
from nndiag.report.rollup import ScopeRow, Spread, TableRow
from nndiag.report.units import number, percent

CELLS = 8
"""Length of a bar; of a gradient's, one cell for each power of ten."""

_GAP = 2
_NAME = 20
_WIDE = 100
"""Width of a terminal that has room for bars beside long names and ranges."""

_EIGHTHS = " ▏▎▍▌▋▊▉█"


_Column = tuple[str, str, Callable[[float, TableRow], str], Callable[[Spread], str]]
"""Heading, field of `LayerRow`, and how it is written: of one layer, of many."""


def layer_table(
    rows: Sequence[TableRow],
    marks: Sequence[Mapping[str, Level]],
    *,
    width: int,
    ascii_only: bool = False,
) -> Table:
    """Each layer with the last value of its numbers; columns without any are left out.

    Many layers in one row show the lowest and the highest value, of the bits left the
    lowest. A table with such rows has bars on a wide terminal only.

    Args:
        rows: of a report.
        marks: for each row the verdict on its numbers, by field of `LayerRow`. They
            show as a colour and as an exclamation mark.
        width: columns of the terminal; names take what the numbers leave.
        ascii_only: whether the terminal can show nothing but ASCII.
    """
    norms = [norm for row in rows for norm in _bounds(row.gradient) if norm > 0]
    largest = max(norms, default=1)
    many = any(isinstance(row, ScopeRow) for row in rows)
    barred = not many or width >= _WIDE

    def saturation(share: float, row: TableRow) -> str:
        if not barred:
            return percent(share)
        if row.flat_at_zero:
            # a bar would alarm: half of a relu is zero in its normal state
            return f"{'zero':<{CELLS}} {percent(share):>5}"
        return f"{_bar(share, ascii_only)} {percent(share):>5}"

    def gradient(norm: float, row: TableRow) -> str:
        if not barred:
            return number(norm)
        behind = math.log10(largest / norm) if 0 < norm < math.inf else math.nan
        return f"{_bar(1 - behind / CELLS, ascii_only)} {number(norm):>7}"

    columns: tuple[_Column, ...] = (
        ("saturated", "saturation", saturation, _shares),
        (
            "gradient, ×10 a cell" if barred else "gradient",
            "gradient",
            gradient,
            partial(_range, write=_rough),
        ),
        (
            "update/weight",
            "update",
            lambda ratio, row: number(ratio),
            partial(_range, write=_rough),
        ),
        (
            "bits left",
            "headroom",
            lambda bits, row: _whole(bits),
            lambda bits: _whole(bits.low),
        ),
    )
    measured = [
        column for column in columns if any(_is_known(row, column[1]) for row in rows)
    ]
    body = [
        [_cell(row, column, levels) for column in measured]
        for row, levels in zip(rows, marks, strict=True)
    ]
    taken = sum(
        max(len(heading), *(len(cells[at]) for cells in body)) + _GAP
        for at, (heading, *_) in enumerate(measured)
    )
    room = max(_NAME, width - taken - _GAP) if many else _NAME
    table = Table(box=None, padding=(0, _GAP, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("layer", overflow="ellipsis", no_wrap=True, max_width=room)
    for heading, field, *_ in measured:
        bars = barred and field in ("saturation", "gradient")
        table.add_column(heading, justify="left" if bars else "right", no_wrap=True)
    for row, cells in zip(rows, body, strict=True):
        name = _clipped(_named(row, ascii_only), room) if many else row.name
        table.add_row(Text(name), *cells)
    return table


def _cell(row: TableRow, column: _Column, levels: Mapping[str, Level]) -> Text:
    _, field, write, write_many = column
    if not _is_known(row, field):
        return Text("-", style="dim")
    value: Change | Spread = getattr(row, field)
    change = isinstance(value, Change)
    text = write(value.last, row) if change else write_many(value)
    level = levels.get(field)
    mark = " !" if level in ("error", "warning") else "  "
    calm = "dim" if field == "saturation" and row.flat_at_zero else ""
    return Text(text + mark, style=TERMINAL[level] if level else calm)


def _shares(spread: Spread) -> str:
    low, _, rest = _range(spread, percent).partition(" % to ")
    return f"{low}–{rest}" if rest else low


def _range(spread: Spread, write: Callable[[float], str]) -> str:
    if spread.low != spread.low:
        return "NaN"
    ends = dict.fromkeys(write(end) for end in (spread.low, spread.high))
    return " to ".join(ends) + (" or NaN" if spread.lost else "")


def _rough(value: float) -> str:
    """One digit: the ends of a range need no more."""
    return number(float(f"{value:.0e}"))


def _bounds(value: Change | Spread) -> tuple[float, ...]:
    return (value.last,) if isinstance(value, Change) else (value.low, value.high)


def _is_known(row: TableRow, field: str) -> bool:
    """Whether a number was measured at all."""
    value: Change | Spread = getattr(row, field)
    if isinstance(value, Change):
        return value.first == value.first
    return value.low == value.low or value.lost > 0


def _named(row: TableRow, ascii_only: bool) -> str:
    if not isinstance(row, ScopeRow):
        return row.name
    name = f"{row.layers:,} × {row.name}"
    return name.replace("×", "x").replace("–", "-") if ascii_only else name


def _clipped(name: str, room: int) -> str:
    """A name without its middle, if it is too long: its end tells most."""
    head = room // 3
    return name if len(name) <= room else f"{name[:head]}…{name[head + 1 - room :]}"


def _whole(value: float) -> str:
    """A number of bits without decimals."""
    return f"{value:.0f}" if math.isfinite(value) else number(value)


def _bar(share: float, ascii_only: bool) -> str:
    if math.isnan(share):
        return " " * CELLS
    filled = min(max(share, 0.0), 1.0) * CELLS
    if ascii_only:
        return ("#" * round(filled)).ljust(CELLS)
    full, rest = divmod(round(filled * 8), 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(CELLS)
