"""Gradient checks on a terminal: a table of the leaves, the evidence, a card each."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table as Grid
from rich.text import Text

from nndiag.records.gradcheck import GradCheck
from nndiag.render.console import closing, verdict
from nndiag.render.theme import TERMINAL
from nndiag.report.blocks import CheckCard, KeyValues, Paragraphs, Section, Table
from nndiag.report.gradcheck import arrange

_WIDEST = 100
"""Longer lines than this are tiring to read."""

_TEXT_COLUMNS = ("Leaf", "Function", "Element", "Where", "Modes", "Verdict")


def print_gradcheck(
    console: Console,
    checks: Sequence[GradCheck],
    *,
    page: Path | None = None,
    next_command: str = "",
) -> None:
    """Print checks: verdict, leaves, evidence, what is wrong with each, what to type.

    Args:
        console: gives width and colours.
        checks: one for each function, at least one.
        page: the HTML page, if one was written.
        next_command: what to type next, ``""`` for nothing.
    """
    report = arrange(checks)
    width = min(console.width, _WIDEST)
    console.print()
    console.print(verdict(report, width))
    for section in report.sections:
        console.print()
        if section.name not in ("leaves", "functions"):
            console.print(Text(section.title, style="bold"))
        for part in _section(section):
            console.print(part, width=width)
    if page is not None or next_command:
        console.print(closing(page, next_command), soft_wrap=True)


def gradcheck_text(checks: Sequence[GradCheck], *, width: int = 88) -> str:
    """What `print_gradcheck` prints, as plain text without colours.

    Args:
        checks: one for each function, at least one.
        width: of the lines.
    """
    file = io.StringIO()
    console = Console(file=file, width=width, color_system=None, _environ={})
    print_gradcheck(console, checks)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def _section(section: Section) -> Iterator[RenderableType]:
    for block in section.blocks:
        if isinstance(block, Table):
            yield _table(block)
        elif isinstance(block, KeyValues):
            yield _pairs(block.items)
        elif isinstance(block, CheckCard):
            yield _card(block)
        elif isinstance(block, Paragraphs):
            # a list item goes on below its own first letter
            items = Grid.grid(padding=(0, 1))
            for text in block.texts:
                items.add_row("-", Text(text))
            yield items


def _table(table: Table) -> RenderableType:
    grid = Grid(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for heading in table.columns:
        text = heading in _TEXT_COLUMNS
        grid.add_column(
            heading,
            justify="left" if text else "right",
            overflow="fold",
            no_wrap=not text,
        )
    for row in table.rows:
        grid.add_row(
            *(
                Text(cell.text, style=TERMINAL[cell.level] if cell.level else "")
                for cell in row
            )
        )
    parts: list[RenderableType] = [grid] if table.rows else []
    return Group(*parts, Text(table.note, style="dim")) if table.note else grid


def _pairs(items: Sequence[tuple[str, str]]) -> RenderableType:
    rows = Grid.grid(padding=(0, 2))
    rows.add_column(style="dim", min_width=8)
    rows.add_column(ratio=1)
    for name, text in items:
        rows.add_row(name, Text(text))
    return rows


def _card(card: CheckCard) -> RenderableType:
    parts: list[RenderableType] = [Text(card.title, style="bold"), Text()]
    if card.text:
        parts += [Text(card.text), Text()]
    parts.append(_pairs(card.facts))
    if card.elements is not None:
        parts += [Text(), _table(card.elements)]
    style = TERMINAL[card.level]
    return Panel(
        Group(*parts),
        title=Text(card.label, style=f"bold {style}"),
        title_align="left",
        border_style=style,
        box=box.ROUNDED,
        padding=(1, 2),
    )
