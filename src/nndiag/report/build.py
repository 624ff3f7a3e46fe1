"""From a run and its findings to a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from nndiag.records import Finding, Floats, Run, Severity
from nndiag.report.autopsy import tell
from nndiag.report.blocks import (
    Block,
    Cell,
    KeyValues,
    Paragraphs,
    Report,
    Section,
    Table,
)
from nndiag.report.cards import deal
from nndiag.report.gallery import gather
from nndiag.report.layers import Change, LayerRow, gradient_norm, layer_rows
from nndiag.report.units import (
    bits,
    count,
    duration,
    evaluation,
    number,
    percent,
    printable,
)
from nndiag.report.verdict import judge
from nndiag.rules.measures import median
from nndiag.rules.thresholds import VANISHING_RATIO

_ENDED = {
    "running": "still running, or killed",
    "finished": "finished",
    "interrupted": "interrupted",
    "stopped": "stopped: a NaN or Inf got into the state",
    "failed": "failed",
}

_Marks = Mapping[str, Severity]

_Column = tuple[str, str, Callable[[float], str], frozenset[str]]

_COLUMNS: tuple[_Column, ...] = (
    ("Saturated", "saturation", percent, frozenset({"saturation", "distribution"})),
    ("Slope |f′|", "slope", number, frozenset()),
    ("Gradient norm", "gradient", number, frozenset({"gradient", "profile"})),
    ("Update / weight", "update", number, frozenset({"update"})),
    ("Headroom", "headroom", bits, frozenset({"headroom"})),
)
"""Heading, field of `LayerRow`, format, and the pictures whose findings colour it."""


def build(run: Run, findings: Sequence[Finding]) -> Report:
    """Arrange what there is to say about a run: the verdict first, then the proofs.

    The same run and findings always give the same report. What was not measured is
    absent.

    Args:
        run: as read back from its directory.
        findings: from `nndiag.rules`, ranked by cause.
    """
    pictures = gather(run)
    rows = layer_rows(run)
    flat = tuple(_flatten(findings))
    marks = tuple(_marks(run, row, rows, flat) for row in rows)
    cards = deal(findings, pictures)
    rest = pictures.values()
    sections = (
        _section("findings", "Findings", cards),
        _section(
            "autopsy",
            "Autopsy",
            (tell(run.autopsies[step], step=step) for step in sorted(run.autopsies)),
        ),
        _section("pictures", "More pictures" if cards else "Pictures", rest),
        _section("layers", "Layers", (_table(rows, marks),) if rows else ()),
        _section("settings", "Settings", _key_values(run.header.settings.items())),
        _section("versions", "Versions", _key_values(run.header.versions.items())),
        _section("notes", "What nndiag could not see", _notes(run)),
    )
    return Report(
        title=printable(run.header.target or run.path.name or "training run"),
        verdict=judge(run, findings),
        facts=KeyValues(tuple(_facts(run))),
        sections=tuple(section for section in sections if section is not None),
        layers=rows,
        marks=marks,
    )


def _section(name: str, title: str, blocks: Iterable[Block]) -> Section | None:
    kept = tuple(blocks)
    return Section(name, title, kept) if kept else None


def _facts(run: Run) -> Iterable[tuple[str, str]]:
    header = run.header
    steps = f"{len(run.steps):,}"
    if header.steps_planned > len(run.steps):
        steps += f" of {header.steps_planned:,}"
    yield "Steps", steps
    if header.every > 1:
        yield "Recorded", f"{len(run.recorded):,} (every {header.every:,})"
    else:
        yield "Recorded", f"{len(run.recorded):,}"
    yield "Status", _ENDED[run.status]
    yield "Time", duration(run.seconds)
    if len(run.loss):
        yield "Loss", _loss(run.loss)
    for name, (_, values) in run.evaluations.items():
        if len(values):
            share = "accuracy" in name and 0 <= values[-1] <= 1
            text = f"{100 * values[-1]:.1f} %" if share else number(values[-1])
            yield evaluation(name).capitalize(), text
    optional = (
        ("Device", header.device),
        # of a recorded loop, which has no target, nobody told the seed
        ("Seed", str(header.seed) if header.target else ""),
        ("Started", header.started[:16].replace("T", " ")),
        ("Source revision", header.git[:12]),
        ("Command", header.command),
    )
    yield from ((name, printable(text)) for name, text in optional if text)


def _loss(loss: Floats) -> str:
    """The first and the last loss."""
    if not np.isfinite(loss).any():
        return f"{number(loss[0])} from the first step on"
    return f"{number(loss[0])} → {number(loss[-1])}"


def _key_values(items: Iterable[tuple[str, object]]) -> tuple[KeyValues, ...]:
    pairs = tuple(
        (printable(name), printable(str(value)) or "–") for name, value in items
    )
    return (KeyValues(pairs),) if pairs else ()


def _notes(run: Run) -> tuple[Paragraphs, ...]:
    return (Paragraphs(tuple(map(printable, run.notes))),) if run.notes else ()


def _table(rows: Sequence[LayerRow], marks: Sequence[_Marks]) -> Table:
    """The layer table; columns that nobody measured are left out."""
    columns = [
        column
        for column in _COLUMNS
        if any(_known(getattr(row, column[1])) for row in rows)
    ]

    def cell(row: LayerRow, column: _Column, level: Severity | None) -> Cell:
        _, field, write, _ = column
        change: Change = getattr(row, field)
        if not _known(change):
            return Cell("–")
        first, last = write(change.first), write(change.last)
        text = first if first == last else f"{first} → {last}"
        if field == "saturation" and row.flat_at_zero:
            text += " zero"
        return Cell(text, level)

    return Table(
        columns=("Layer", "Activation", *(heading for heading, *_ in columns)),
        rows=tuple(
            (
                Cell(row.name),
                Cell(printable(row.function) or "–"),
                *(cell(row, column, levels.get(column[1])) for column in columns),
            )
            for row, levels in zip(rows, marks, strict=True)
        ),
        note=f"{count(len(rows), 'layer')} from input to output; "
        "first → last recorded step.",
    )


def _known(change: Change) -> bool:
    return change.first == change.first


def _flatten(findings: Iterable[Finding]) -> Iterable[Finding]:
    for finding in findings:
        yield finding
        yield from _flatten(finding.symptoms)


def _marks(
    run: Run, row: LayerRow, rows: Sequence[LayerRow], findings: Sequence[Finding]
) -> _Marks:
    """For each number of a layer, the worst severity of the findings about it."""
    order: tuple[Severity, ...] = ("info", "warning", "error")
    about = [finding for finding in findings if set(finding.sites) & set(row.sites)]
    return {
        field: finding.severity
        for severity in order
        for finding in about
        for _, field, _, pictures in _COLUMNS
        if finding.severity == severity and finding.picture in pictures
        if field != "gradient" or _is_behind(run, row, rows, finding)
    }


def _is_behind(
    run: Run, row: LayerRow, rows: Sequence[LayerRow], finding: Finding
) -> bool:
    """Whether a layer is one of those whose gradient vanished, if that was found."""
    if finding.name != "vanishing_gradient":
        return True
    norms = {
        other.name: median(gradient_norm(run, layer))
        for other, layer in zip(rows, run.layers(), strict=True)
        if set(finding.sites) & set(other.sites)
    }
    return norms[row.name] < VANISHING_RATIO * [*norms.values()][-1]
