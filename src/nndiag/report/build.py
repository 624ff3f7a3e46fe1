"""From a run and its findings to a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from nndiag.records import Finding, Floats, Integers, Run, Severity
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
from nndiag.report.examples import hardest_examples
from nndiag.report.gallery import gather
from nndiag.report.layers import Change, LayerRow, Numbers, gradient_norms, measure
from nndiag.report.rollup import Marks, Spread, TableRow, roll_up
from nndiag.report.structures import structures
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
from nndiag.rules.measures import medians
from nndiag.rules.thresholds import VANISHING_RATIO

_ENDED = {
    "running": "still running, or killed",
    "finished": "finished",
    "interrupted": "interrupted",
    "stopped": "stopped: a NaN or Inf got into the state",
    "failed": "failed",
}

ALL = "All of them are in the run directory: nndiag export RUN --to csv."
"""Where to find what a table has no room for."""

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
    numbers = measure(run)
    found = _found(run, numbers, tuple(_flatten(findings)))
    rows, marks = roll_up(
        numbers, _marks(found), [(field, places) for field, places, _ in found]
    )
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
        _section("layers", "Layers", (_table(numbers, rows, marks),) if rows else ()),
        *structures(run),
        _section("examples", "Which examples pull hardest", hardest_examples(run)),
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


def _table(numbers: Numbers, rows: Sequence[TableRow], marks: Sequence[Marks]) -> Table:
    """The layer table; columns that nobody measured are left out."""
    columns = [
        column
        for column in _COLUMNS
        if not np.isnan(numbers.ends[column[1]].first).all()
    ]

    def cell(row: TableRow, column: _Column, level: Severity | None) -> Cell:
        _, field, write, _ = column
        value: Change | Spread = getattr(row, field)
        text = (
            _spread(value, write)
            if isinstance(value, Spread)
            else _change(value, write)
        )
        if not text:
            return Cell("–")
        if field == "saturation" and row.flat_at_zero:
            text += " zero"
        return Cell(text, level)

    return Table(
        columns=("Layer", "Activation", *(heading for heading, *_ in columns)),
        rows=tuple(
            (
                Cell(_name(row)),
                Cell(printable(row.function) or "–"),
                *(cell(row, column, levels.get(column[1])) for column in columns),
            )
            for row, levels in zip(rows, marks, strict=True)
        ),
        note=_note(numbers, rows),
    )


def _name(row: TableRow) -> str:
    if isinstance(row, LayerRow):
        return row.name
    return f"{row.name} · {count(row.layers, 'layer')}"


def _change(change: Change, write: Callable[[float], str]) -> str:
    if change.first != change.first:
        return ""
    first, last = write(change.first), write(change.last)
    return first if first == last else f"{first} → {last}"


def _spread(spread: Spread, write: Callable[[float], str]) -> str:
    lost = f"NaN in {spread.lost:,}" if spread.lost else ""
    if spread.low != spread.low:
        return lost
    low, high = write(spread.low), write(spread.high)
    middle, _, unit = write(spread.median).partition(" ")
    text = low
    if low != high:
        text = f"{low.removesuffix(f' {unit}')} to {high} ({middle})"
    return f"{text}, {lost}" if lost else text


def _note(numbers: Numbers, rows: Sequence[TableRow]) -> str:
    """How to read the table, and where the rest is."""
    every = count(len(numbers.layers), "layer")
    order = f"{every} from input to output; first → last recorded step."
    if len(rows) == len(numbers.layers):
        return order
    return (
        f"{len(rows)} rows for {every}: first the worst ones, first → last recorded "
        "step; then the others by scope, lowest to highest (median) of the last "
        f"recorded step. {ALL}"
    )


def _flatten(findings: Iterable[Finding]) -> Iterable[Finding]:
    for finding in findings:
        yield finding
        yield from _flatten(finding.symptoms)


_Found = Sequence[tuple[str, Integers, Severity]]


def _found(run: Run, numbers: Numbers, findings: Sequence[Finding]) -> _Found:
    """What each finding colours: a number, the places of its layers, how badly."""
    owner = {
        site: at
        for at, layer in enumerate(numbers.layers)
        for site in (layer.activation, *layer.parameters)
        if site is not None
    }
    found: list[tuple[str, Integers, Severity]] = []
    for finding in findings:
        # in the order of the finding, which may name the worst first
        named = [owner[site] for site in finding.sites if site in owner]
        places = np.array([*dict.fromkeys(named)], np.int64)
        fields = [field for _, field, _, pic in _COLUMNS if finding.picture in pic]
        if finding.name == "vanishing_gradient":
            places = _behind(run, np.sort(places))
        for field in fields or [""]:
            found.append((field, places, finding.severity))
    return found


def _behind(run: Run, places: Integers) -> Integers:
    """Of layers in forward order those whose gradient vanished against the last one."""
    if not len(places):
        return places
    norms = medians(gradient_norms(run)[places])
    return places[norms < VANISHING_RATIO * norms[-1]]


def _marks(found: _Found) -> Mapping[int, Marks]:
    """For each number of a layer, the worst severity of the findings about it."""
    order: tuple[Severity, ...] = ("info", "warning", "error")
    marks: dict[int, dict[str, Severity]] = {}
    for field, places, severity in sorted(found, key=lambda one: order.index(one[2])):
        if field:
            for at in places.tolist():
                marks.setdefault(at, {})[field] = severity
    return marks
