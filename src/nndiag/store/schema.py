"""What a run directory holds: file names, tables, and how a number is stored."""

from __future__ import annotations

import math
from typing import Any

from nndiag.records import QUANTITIES

SCHEMA_VERSION = 3
"""Version of the tables, in SQLite's ``PRAGMA user_version``; older ones are read."""

SINCE = {"autopsy": 2} | dict.fromkeys(
    ("detail", "embedding", "vector", "batch", "example"), 3
)
"""The first version of each table that version 1 did not have."""

DETAILS = ("entropy", "ratio", "spread")
"""Quantities that few sites have: they stand in a table of their own."""

COLUMNS = tuple(quantity for quantity in QUANTITIES if quantity not in DETAILS)
"""Quantities with a column in the table ``reading``."""

LARGEST_CELL = 1 << 20
"""Bytes in one cell at most; a sample takes one kilobyte, an autopsy a few."""

DATABASE = "run.sqlite"
HEADER = "run.json"

TABLES: dict[str, str] = {
    "status": """CREATE TABLE status (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    status TEXT NOT NULL,
    process INTEGER,
    host TEXT
)""",
    "site": """CREATE TABLE site (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    scope TEXT NOT NULL,
    function TEXT NOT NULL,
    position INTEGER NOT NULL,
    dtype TEXT NOT NULL,
    shape TEXT NOT NULL,
    file TEXT NOT NULL,
    line INTEGER NOT NULL
)""",
    "step": """CREATE TABLE step (
    step INTEGER PRIMARY KEY,
    seconds REAL NOT NULL,
    loss REAL
)""",
    "metric": """CREATE TABLE metric (
    name TEXT NOT NULL,
    step INTEGER NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (name, step)
) WITHOUT ROWID""",
    "evaluation": """CREATE TABLE evaluation (
    name TEXT NOT NULL,
    step INTEGER NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (name, step)
) WITHOUT ROWID""",
    "recorded": """CREATE TABLE recorded (
    step INTEGER PRIMARY KEY,
    finite INTEGER NOT NULL
)""",
    "reading": f"""CREATE TABLE reading (
    step INTEGER NOT NULL,
    role TEXT NOT NULL,
    site INTEGER NOT NULL,
    {", ".join(f"{quantity} REAL" for quantity in COLUMNS)},
    PRIMARY KEY (step, role, site)
) WITHOUT ROWID""",
    "detail": """CREATE TABLE detail (
    step INTEGER NOT NULL,
    role TEXT NOT NULL,
    site INTEGER NOT NULL,
    quantity TEXT NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (step, role, site, quantity)
) WITHOUT ROWID""",
    "sample": """CREATE TABLE sample (
    step INTEGER NOT NULL,
    site INTEGER NOT NULL,
    elements BLOB NOT NULL,
    PRIMARY KEY (step, site)
)""",
    "embedding": """CREATE TABLE embedding (
    site INTEGER PRIMARY KEY,
    steps INTEGER NOT NULL,
    latest INTEGER NOT NULL,
    touched BLOB NOT NULL
)""",
    "vector": """CREATE TABLE vector (
    step INTEGER NOT NULL,
    role TEXT NOT NULL,
    site INTEGER NOT NULL,
    quantity TEXT NOT NULL,
    elements BLOB NOT NULL,
    PRIMARY KEY (step, role, site, quantity)
)""",
    "batch": """CREATE TABLE batch (
    step INTEGER PRIMARY KEY,
    examples INTEGER NOT NULL,
    median REAL NOT NULL,
    largest REAL NOT NULL
)""",
    "example": """CREATE TABLE example (
    step INTEGER NOT NULL,
    position INTEGER NOT NULL,
    norm REAL NOT NULL,
    PRIMARY KEY (step, position)
) WITHOUT ROWID""",
    "note": """CREATE TABLE note (
    id INTEGER PRIMARY KEY,
    sentence TEXT NOT NULL UNIQUE
)""",
    "autopsy": """CREATE TABLE autopsy (
    step INTEGER PRIMARY KEY,
    document TEXT NOT NULL
)""",
}
"""The statement that makes each table. SQLite keeps it word for word, so that a
reader can demand these very tables and meets no view or computed column instead."""


def number(value: Any) -> float | str:
    """A number as SQLite stores it: NaN becomes the text ``'NaN'``.

    SQLite turns a NaN into NULL, and NULL means "not measured". ±Inf it can store.

    Example:
        >>> number(1.5), number(float("nan"))
        (1.5, 'NaN')
    """
    plain = float(value)
    return "NaN" if math.isnan(plain) else plain


def text(value: str) -> str:
    r"""A string as SQLite stores it: valid UTF-8, lone surrogates spelt out.

    Example:
        >>> text("caf\udce9")
        'caf\\udce9'
    """
    return value.encode("utf-8", "backslashreplace").decode("utf-8")
