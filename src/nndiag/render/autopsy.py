"""An autopsy on a terminal: one card, from the line to what to write instead."""

from __future__ import annotations

from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table as Grid
from rich.text import Text

from nndiag.records import Autopsy
from nndiag.render.code import Code
from nndiag.render.theme import TERMINAL, WORDS
from nndiag.report.autopsy import tell
from nndiag.report.blocks import AutopsyCard, Table
from nndiag.report.picture import Flow

_WIDEST = 100
"""Longer lines than this are tiring to read."""


_STATES = {"NaN": TERMINAL["error"], "Inf": TERMINAL["warning"]}


def print_autopsy(
    console: Console, autopsy: Autopsy, *, step: int | None = None
) -> None:
    """Print an autopsy as a card.

    Args:
        console: gives width and colours.
        autopsy: from a replay, or read back from a run.
        step: the step that was replayed, `None` for a function of one's own.
    """
    card = autopsy_card(tell(autopsy, step=step))
    console.print(card, width=min(console.width, _WIDEST))


def autopsy_card(card: AutopsyCard) -> RenderableType:
    """One autopsy: line, numbers, way, cause, rewrite; no text of it is markup."""
    parts: list[RenderableType] = [Text(card.title, style="bold"), Text()]
    for frame in card.frames:
        parts += [Text(frame.place, style="dim"), Code(frame), Text()]
    parts.append(_facts(card))
    if card.operands is not None:
        parts += [Text(), _operands(card.operands)]
    if card.chain is not None:
        parts += [Text(), Text("From the origin to the symptom", style="dim")]
        parts.append(_way(card.chain))
    parts += [Text(), Text("Why", style="dim"), Text(card.cause)]
    if card.rewrite is not None:
        heading = f"Write instead, at {card.rewrite.place}".removesuffix(", at ")
        parts += [Text(), Text(heading, style="dim"), Code(card.rewrite)]
    if card.advice:
        parts += [Text(), Text("Try", style="dim"), Text(card.advice)]
    if card.notes:
        parts += [Text(), *(Text(f"- {note}", style="dim") for note in card.notes)]
    badge = Text(WORDS[card.level], style=f"bold {TERMINAL[card.level]}")
    when = f", {card.when}" if card.when else ""
    return Panel(
        Group(*parts),
        title=Text.assemble(badge, f" Autopsy{when}"),
        title_align="left",
        border_style=TERMINAL[card.level],
        box=box.ROUNDED,
        padding=(1, 2),
    )


def _facts(card: AutopsyCard) -> RenderableType:
    rows = Grid.grid(padding=(0, 2))
    rows.add_column(style="dim", min_width=8)
    rows.add_column(ratio=1)
    for name, text in card.facts:
        rows.add_row(name, Text(text))
    return rows


def _operands(table: Table) -> RenderableType:
    grid = Grid(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    numeric = ("NaN", "Inf")
    for heading in table.columns:
        grid.add_column(
            heading,
            justify="right" if heading in numeric else "left",
            overflow="fold",
        )
    for row in table.rows:
        grid.add_row(
            *(
                Text(cell.text, style=TERMINAL[cell.level] if cell.level else "")
                for cell in row
            )
        )
    return Group(grid, Text(table.note, style="dim")) if table.note else grid


def _way(flow: Flow) -> RenderableType:
    """The stations of a chain, one a line."""
    grid = Grid.grid(padding=(0, 2))
    grid.add_column(width=3)
    grid.add_column(overflow="fold")
    grid.add_column(style="dim", overflow="fold")
    for node in flow.nodes:
        style = _STATES.get(node.state, "")
        grid.add_row(Text(node.state, style=style), Text(node.name), Text(node.place))
    return grid
