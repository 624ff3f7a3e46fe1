"""The table that every export holds: one number, one row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple, TypeVar

from nndiag.records import Run, Site
from nndiag.store import Entry


class Row(NamedTuple):
    """One number of a run, with where it was measured.

    Attributes:
        step: number of the step, from 0.
        role: ``"value"``, ``"cotangent"``, ``"parameter"``, ``"gradient"`` or
            ``"update"``; or ``"run"``, ``"metric"``, ``"evaluation"``, ``"example"``.
        site: key of the place, ``""`` for what belongs to none.
        quantity: what was measured, such as ``"norm"``, or the name of a metric.
        value: the number; NaN and infinities are kept. What was not measured has no
            row.
        kind: of the site, such as ``"activation"``, or ``""``.
        layer: the layer it belongs to in the report, or ``""``.
        file: the user's source file, ``""`` if unknown.
        line: the line in it, 0 if unknown.
    """

    step: int
    role: str
    site: str
    quantity: str
    value: float
    kind: str
    layer: str
    file: str
    line: int


_Row = TypeVar("_Row")

COLUMNS: tuple[str, ...] = Row._fields
"""Names of the columns, in order."""


def rows(entries: Iterable[Entry], run: Run) -> Iterator[Row]:
    """The rows of the table, one at a time.

    Args:
        entries: from `nndiag.store.stream`.
        run: the same run, whose layers give the rows theirs.
    """
    layers = _layers(run)
    places: dict[Site | None, tuple[str, str, str, str, int]] = {
        None: ("", "", "", "", 0)
    }
    for step, role, site, quantity, value in entries:
        if site is not None and site not in places:
            layer = layers.get(site, site.scope)
            places[site] = str(site), site.kind, layer, site.file, site.line
        name, kind, layer, file, line = places[site]
        yield Row(step, role, name, quantity, value, kind, layer, file, line)


def groups(rows: Iterable[_Row], size: int) -> Iterator[list[_Row]]:
    """The rows in lists of `size`, the last of them shorter."""
    remaining = iter(rows)
    while group := list(islice(remaining, size)):
        yield group


def _layers(run: Run) -> dict[Site, str]:
    """The name of its layer, for each site that belongs to one."""
    return {
        site: layer.name
        for layer in run.layers()
        for site in (layer.activation, *layer.parameters)
        if site is not None
    }
