"""A report on a terminal: findings as cards, then the layer table.

Width and colours are the console's; no name from the run is ever read as markup.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import wrap

from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table as Grid
from rich.text import Text

from nndiag.render.code import Code
from nndiag.render.rows import layer_table
from nndiag.render.theme import TERMINAL, WORDS
from nndiag.report.blocks import FindingCard, Level, Paragraphs, Proof, Report, Section
from nndiag.report.build import ALL
from nndiag.report.layers import LayerRow
from nndiag.report.rollup import ScopeRow, TableRow
from nndiag.report.units import count

_WIDEST = 100
"""Longer lines than this are tiring to read."""


def show(
    console: Console,
    report: Report,
    *,
    page: Path | None = None,
    next_command: str = "",
) -> None:
    """Print a report: verdict, findings, layers, notes, and where to read on.

    Args:
        console: gives width and colours.
        report: from `nndiag.report.build`.
        page: the HTML report, if one was written.
        next_command: what to type next, ``""`` for nothing.
    """
    console.print()
    console.print(verdict(report, min(console.width, _WIDEST)))
    for card in report.cards():
        console.print(finding(card), width=min(console.width, _WIDEST))
    if report.layers:
        console.print()
        plain = console.options.ascii_only
        console.print(
            layer_table(
                report.layers, report.marks, width=console.width, ascii_only=plain
            )
        )
        more = _rolled_up(report.layers)
        if more:
            console.print(Text(more, style="dim"), width=min(console.width, _WIDEST))
    notes = report.section("notes")
    if notes is not None:
        console.print(_notes(notes))
    if page is not None or next_command:
        console.print(closing(page, next_command), soft_wrap=True)


def verdict(report: Report, width: int) -> RenderableType:
    """The verdict in lines of a width, with its level as a word and a colour."""
    badge = _badge(report.verdict.level)
    indent = len(badge) + 1
    # neither a grid nor rich's own wrapping: they leave blanks at the ends of lines
    lines = wrap(report.verdict.sentence, width - indent, break_on_hyphens=False)
    return Text.assemble(badge, " ", (f"\n{' ' * indent}".join(lines), "bold"))


def finding(card: FindingCard) -> RenderableType:
    """One card; the findings of its chain are nested in it."""
    rows = Grid.grid(padding=(0, 2))
    rows.add_column(style="dim", min_width=8)
    rows.add_column(ratio=1)
    for name, text in _rows(card):
        rows.add_row(name, text)
    parts: list[RenderableType] = [Text(card.title, style="bold"), Text()]
    if card.frame is not None:
        parts += [Code(card.frame), Text()]
    parts.append(rows)
    if card.symptoms:
        parts += [Text(), Rule("hangs together with", style="dim", align="left")]
        parts += [finding(symptom) for symptom in card.symptoms]
    heading = Text.assemble(
        _badge(card.severity), f" {card.code} {card.name}, {card.confidence}"
    )
    return Panel(
        Group(*parts),
        title=heading,
        title_align="left",
        border_style=TERMINAL[card.severity],
        box=box.ROUNDED,
        padding=(1, 2) if not card.symptoms else (1, 2, 0, 2),
    )


def closing(page: Path | None, next_command: str) -> RenderableType:
    """Where the page is, and the next command to type."""
    lines = Text("\n")
    if page is not None:
        lines.append("Report: ").append(f"{page}\n", style="bold")
    if next_command:
        lines.append("Next:   ").append(f"{next_command}\n", style="bold")
    return lines


def _rolled_up(rows: Sequence[TableRow]) -> str:
    """How to read a table in which layers share rows, ``""`` of any other."""
    shared = sum(row.layers for row in rows if isinstance(row, ScopeRow))
    if not shared:
        return ""
    alone = sum(isinstance(row, LayerRow) for row in rows)
    return (
        f"{count(alone + shared, 'layer')}: first the worst ones, then the others by "
        f"scope, lowest to highest of the last recorded step. {ALL}"
    )


def _rows(card: FindingCard) -> Iterator[tuple[str, RenderableType]]:
    yield "Where", Text("\n".join([card.where, *card.lines]))
    yield "When", Text(card.when)
    if card.evidence:
        yield "Evidence", Group(*(_proof(proof) for proof in card.evidence))
    yield "Why", Text(card.cause)
    if card.remedies:
        steps = Grid.grid(padding=(0, 1))
        for place, remedy in enumerate(card.remedies, start=1):
            steps.add_row(f"{place}.", Text(remedy))
        yield "Try", steps


def _proof(proof: Proof) -> Text:
    text = Text.assemble((proof.value, "bold"), f"  {proof.quantity}")
    if proof.threshold:
        source = f", {proof.source}" if proof.source else ""
        text.append(f" (threshold {proof.threshold}{source})", style="dim")
    elif proof.source:
        text.append(f" ({proof.source})", style="dim")
    return text


def _notes(section: Section) -> RenderableType:
    texts = [
        text
        for block in section.blocks
        if isinstance(block, Paragraphs)
        for text in block.texts
    ]
    title = Text(f"\n{section.title}", style="bold")
    return Group(title, *(Text(f"- {text}") for text in texts))


def _badge(level: Level) -> Text:
    return Text(WORDS[level], style=f"bold {TERMINAL[level]}")
