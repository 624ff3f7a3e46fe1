"""A run as one JSON document."""

from __future__ import annotations

import json
from collections.abc import Iterable
from math import isfinite
from pathlib import Path

from nndiag.export.table import COLUMNS, Row, groups
from nndiag.store.plain import plain

SCHEMA = 1

_GROUP = 1 << 10
"""Rows in a line."""


def write(
    path: Path,
    document: str,
    rows: Iterable[Row],
    arrays: Iterable[tuple[int, str, str, str, list[float]]] = (),
) -> None:
    """Write an object of five keys, without holding more than a few rows.

    ``schema`` is 1; ``report`` is what ``nndiag report --json`` prints; ``columns`` are
    the names of the columns, and ``rows`` is a list of lists. ``arrays`` is a list of
    lists of a step, role, site, quantity and its elements. What is not finite is the
    string ``"NaN"``, ``"Infinity"`` or ``"-Infinity"``, as JSON has no such numbers.
    """
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.write(f'{{"schema": {SCHEMA},\n"report": {document},\n')
        file.write(f'"columns": {json.dumps(COLUMNS)},\n"rows": [')
        separator = "\n"
        for group in groups(map(_valid, rows), _GROUP):
            file.write(separator + json.dumps(group, allow_nan=False)[1:-1])
            separator = ",\n"
        file.write('\n],\n"arrays": [')
        separator = "\n"
        for array in arrays:
            *place, elements = array
            valid = [*map(plain, place), [*map(plain, elements)]]
            file.write(separator + json.dumps(valid, allow_nan=False))
            separator = ",\n"
        file.write("\n]}\n")


def _valid(row: Row) -> tuple[object, ...]:
    """The row in terms of JSON."""
    return row if isfinite(row.value) else tuple(map(plain, row))
