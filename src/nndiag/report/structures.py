"""Tables of what a network has beside layers: attention, branches, embeddings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from nndiag.records import Run, Site
from nndiag.report.blocks import Cell, Section, Table
from nndiag.report.layers import Change, measured
from nndiag.report.units import number, percent, printable

_MOST_ROWS = 16
"""Rows of a table at most; the others are in the run directory."""


class _Kind(NamedTuple):
    """A kind of place, and what is shown of it.

    Attributes:
        name: of the section.
        title: of the section.
        kind: of the sites.
        columns: heading, quantity and format.
        worst: gives what is largest for the row to show first, from the last readings
            of the first quantity.
        note: how to read it.
    """

    name: str
    title: str
    kind: str
    columns: tuple[tuple[str, str, Callable[[float], str]], ...]
    worst: Callable[[float], float]
    note: str


def _from_one(ratio: float) -> float:
    """How far a ratio is from 1, either way."""
    return abs(math.log(ratio)) if 0 < ratio < math.inf else math.inf


_KINDS = (
    _Kind(
        "attention",
        "Attention",
        "attention",
        (("Entropy / ln n", "entropy", number), ("Largest logit", "largest", number)),
        float.__neg__,
        "0: each query sees one of n keys; 1: all of them alike.",
    ),
    _Kind(
        "normalisation",
        "Normalisation",
        "normalisation",
        (
            ("Standard deviation in", "std", number),
            ("Mean in", "mean", number),
            ("Largest in", "largest", number),
        ),
        _from_one,
        "Of what comes in, over all elements.",
    ),
    _Kind(
        "residual",
        "Residual branches",
        "residual",
        (("Branch / stream", "ratio", number),),
        _from_one,
        "Norm of what is added over that of what it is added to.",
    ),
    _Kind(
        "dropout",
        "Dropout",
        "dropout",
        (("Dropped", "zero", percent),),
        float,
        "Share of the elements.",
    ),
)


def structures(run: Run) -> Iterator[Section]:
    """A section for each kind of structure that the run has, none for others."""
    for kind in _KINDS:
        sites = run.of_kind(kind.kind)
        if sites:
            yield Section(kind.name, kind.title, (_table(run, kind, sites),))
    if run.coverage:
        yield Section("embeddings", "Embeddings", (_embeddings(run),))


def _table(run: Run, kind: _Kind, sites: Sequence[Site]) -> Table:
    changes = {
        site: [measured(run.series("value", q, site)) for _, q, _ in kind.columns]
        for site in sites
    }

    def badness(site: Site) -> float:
        last = changes[site][0].last
        return kind.worst(last) if last == last else float("-inf")

    shown = sorted(sites, key=badness, reverse=True)[:_MOST_ROWS]
    note = f"{kind.note} First → last recorded step."
    if len(shown) < len(sites):
        note += f" The {len(shown)} outermost of {len(sites):,}."
    formats = [write for _, _, write in kind.columns]
    return Table(
        columns=("Place", "Function", *(heading for heading, _, _ in kind.columns)),
        rows=tuple(
            (
                Cell(printable(str(site))),
                Cell(printable(site.function) or "–"),
                *(
                    Cell(_change(change, write))
                    for change, write in zip(changes[site], formats, strict=True)
                ),
            )
            for site in sites
            if site in shown
        ),
        note=note,
    )


def _embeddings(run: Run) -> Table:
    return Table(
        columns=("Table", "Rows", "Had a gradient", "Last new row at step"),
        rows=tuple(
            (
                Cell(printable(str(site))),
                Cell(f"{site.shape[0]:,}"),
                Cell(percent(known.share)),
                Cell(f"{known.latest:,}" if known.latest >= 0 else "–"),
            )
            for site, known in run.coverage.items()
        ),
        note="Rows with a gradient at any recorded step"
        + (
            ", of evenly spaced ones."
            if any(known.stride > 1 for known in run.coverage.values())
            else "."
        ),
    )


def _change(change: Change, write: Callable[[float], str]) -> str:
    if change.first != change.first:
        return "–"
    first, last = write(change.first), write(change.last)
    return first if first == last else f"{first} → {last}"
