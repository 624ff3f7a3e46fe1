"""The layer table on a terminal, live and in the end: one row per layer, with bars."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from nndiag.render.theme import TERMINAL
from nndiag.report.blocks import Level
from nndiag.report.layers import LayerRow
from nndiag.report.units import number, percent

CELLS = 8
"""Length of a bar; of a gradient's, one cell for each power of ten."""

_EIGHTHS = " ▏▎▍▌▋▊▉█"


def layer_table(
    rows: Sequence[LayerRow],
    marks: Sequence[Mapping[str, Level]],
    *,
    ascii_only: bool = False,
) -> Table:
    """Each layer with the last value of its numbers; columns without any are left out.

    Args:
        rows: from input to output.
        marks: for each row the verdict on its numbers, by field of `LayerRow`. They
            show as a colour and as an exclamation mark.
        ascii_only: whether the terminal can show nothing but ASCII.
    """
    largest = max(
        (row.gradient.last for row in rows if row.gradient.last > 0), default=1
    )

    def saturation(row: LayerRow) -> str:
        share = row.saturation.last
        if row.flat_at_zero:
            # a bar would alarm: half of a relu is zero in its normal state
            return f"{'zero':<{CELLS}} {percent(share):>5}"
        return f"{_bar(share, ascii_only)} {percent(share):>5}"

    def gradient(row: LayerRow) -> str:
        norm = row.gradient.last
        behind = math.log10(largest / norm) if 0 < norm < math.inf else math.nan
        return f"{_bar(1 - behind / CELLS, ascii_only)} {number(norm):>7}"

    columns: tuple[tuple[str, str, Callable[[LayerRow], str]], ...] = (
        ("saturated", "saturation", saturation),
        ("gradient, ×10 a cell", "gradient", gradient),
        ("update/weight", "update", lambda row: number(row.update.last)),
        ("bits left", "headroom", lambda row: _whole(row.headroom.last)),
    )
    measured = [
        column
        for column in columns
        if any(not math.isnan(getattr(row, column[1]).first) for row in rows)
    ]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("layer", overflow="ellipsis", no_wrap=True, max_width=20)
    for heading, field, _ in measured:
        bars = field in ("saturation", "gradient")
        table.add_column(heading, justify="left" if bars else "right", no_wrap=True)
    for row, levels in zip(rows, marks, strict=True):
        cells = [Text(row.name)]
        for _, field, write in measured:
            if math.isnan(getattr(row, field).first):
                cells.append(Text("-", style="dim"))
                continue
            level = levels.get(field)
            mark = " !" if level in ("error", "warning") else "  "
            calm = "dim" if field == "saturation" and row.flat_at_zero else ""
            style = TERMINAL[level] if level else calm
            cells.append(Text(write(row) + mark, style=style))
        table.add_row(*cells)
    return table


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
