"""A run as comma-separated values (RFC 4180), and what was run beside it as JSON."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from nndiag.export.table import COLUMNS, Row


def write(path: Path, document: str, rows: Iterable[Row]) -> None:
    """Write the table to `path`, and the document to ``PATH.json``.

    Numbers are written with as many digits as their float64 needs. What is not finite
    is ``nan``, ``inf`` or ``-inf``, which Python, pandas, R and DuckDB read as numbers.
    """
    path.with_name(f"{path.name}.json").write_text(document + "\n", encoding="utf-8")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
