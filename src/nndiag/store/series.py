"""The series of readings of a run."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nndiag.records import ROLES, Integers, Role, Site
from nndiag.records.tables import Tables, number_sites
from nndiag.store.schema import COLUMNS, DETAILS, SINCE

_FITTING = 1 << 26
"""Numbers to read, half a gibibyte: so many steps are chosen that there are no more."""

_MOST_NUMBERS = 1 << 28
"""Numbers to hold at most: only a crafted database has so many in the steps chosen."""

_WHERE = "role = ? AND step IN (SELECT value FROM json_each(?))"


def affordable(connection: sqlite3.Connection, recorded: Integers) -> int:
    """How many recorded steps can be read at once, at least 2.

    Judged by the first, the middle and the last of them: a model of a million places
    has many more readings in a step than there are steps in a usual run.
    """
    if not len(recorded):
        return 2
    sums = " + ".join(f"count({quantity})" for quantity in COLUMNS)
    numbers = [
        connection.execute(
            f"SELECT {sums} FROM reading WHERE step = ?", (step,)
        ).fetchone()[0]
        for step in recorded[[0, len(recorded) // 2, -1]].tolist()
    ]
    return max(2, _FITTING // max(1, *numbers))


def read_series(
    connection: sqlite3.Connection, sites: dict[int, Site], recorded: Integers
) -> tuple[Tables, list[str]]:
    """Each series that has a reading at one of the `recorded` steps.

    Returns:
        The series, and a note on each quantity that does not fit into memory.
    """
    reading = _Reading(Tables(), [], _MOST_NUMBERS, sites, recorded)
    for role in ROLES:
        _add_role(connection, role, reading)
    if has_table(connection, "detail"):
        _add_details(connection, reading)
    return reading.tables, reading.notes


@dataclass
class _Reading:
    """What was read so far.

    Attributes:
        tables: the series.
        notes: what was left out.
        left: numbers for which there is still room.
        sites: all sites by their number.
        recorded: the steps.
    """

    tables: Tables
    notes: list[str]
    left: int
    sites: dict[int, Site]
    recorded: Integers

    def affords(self, what: str, series: int) -> bool:
        """Takes room for that many series, or notes that there is none."""
        numbers = series * len(self.recorded)
        if numbers > self.left:
            self.notes.append(
                f"Did not read {what}: {series:,} series of {len(self.recorded):,} "
                "steps do not fit into memory."
            )
            return False
        self.left -= numbers
        return True


def _add_role(connection: sqlite3.Connection, role: Role, reading: _Reading) -> None:
    """The series of one role."""
    chosen = json.dumps(reading.recorded.tolist())
    counts = ", ".join(f"count({quantity})" for quantity in COLUMNS)
    total, *measured = connection.execute(
        f"SELECT count(*), {counts} FROM reading WHERE {_WHERE}", (role, chosen)
    ).fetchone()
    present = [q for q, count in zip(COLUMNS, measured, strict=True) if count]
    unread = present[_MOST_NUMBERS // max(total, 1) :]
    if unread:
        present = present[: -len(unread)]
        reading.notes.append(
            f"Did not read the {', '.join(unread)} of each {role}: "
            f"{total:,} rows do not fit into memory."
        )
    # a NaN was measured, NULL was not: where both occur, they must be told apart
    gaps = [
        q
        for q, n in zip(COLUMNS, measured, strict=True)
        if 0 < n < total and q in present
    ]
    # in the order of the primary key, so that SQLite need not sort
    step, number, *columns = read_columns(
        connection,
        f"SELECT {', '.join(['step', 'site', *present])}"
        f"{''.join(f', {q} IS NOT NULL' for q in gaps)} FROM reading WHERE {_WHERE}",
        (role, chosen),
        "i8 i8" + " f8" * len(present) + " ?" * len(gaps),
    )
    numbers = np.unique(number)
    positions = number_sites([known_site(reading.sites, n) for n in numbers.tolist()])
    at = np.searchsorted(numbers, number)
    column = np.searchsorted(reading.recorded, step)
    every = np.ones(total, np.bool_)
    flags: dict[str, NDArray[np.bool_]] = dict.fromkeys(present, every)
    flags.update(zip(gaps, columns[len(present) :], strict=True))
    for quantity, values in zip(present, columns, strict=False):
        known = flags[quantity]
        has = np.zeros(len(numbers), np.bool_)
        has[at[known]] = True
        many = int(np.count_nonzero(has))
        if not reading.affords(f"the {quantity} of each {role}", many):
            continue
        series = np.full((many, len(reading.recorded)), np.nan)
        rows = np.cumsum(has) - 1
        series[rows[at[known]], column[known]] = values[known]
        reading.tables.add(role, quantity, positions, present=has, series=series)


def has_table(connection: sqlite3.Connection, name: str) -> bool:
    """Whether the database is of a version that has this table."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return version >= SINCE[name]


def _add_details(connection: sqlite3.Connection, reading: _Reading) -> None:
    """The series of quantities that few sites have."""
    rows = connection.execute(
        "SELECT role, site, quantity, step, value FROM detail "
        "WHERE step IN (SELECT value FROM json_each(?))",
        (json.dumps(reading.recorded.tolist()),),
    )
    found: dict[tuple[Role, str], dict[int, list[tuple[int, float]]]] = {}
    for role, number, quantity, step, value in rows:
        if role not in ROLES or quantity not in DETAILS:
            raise ValueError(f"there is a {quantity!r} of a {role!r}")
        series = found.setdefault((role, quantity), {})
        series.setdefault(number, []).append((step, float(value)))
    for (role, quantity), by_site in found.items():
        if not reading.affords(f"the {quantity} of each {role}", len(by_site)):
            continue
        table = np.full((len(by_site), len(reading.recorded)), np.nan)
        for row, entries in zip(table, by_site.values(), strict=True):
            for step, value in entries:
                row[np.searchsorted(reading.recorded, step)] = value
        reading.tables.add(
            role,
            quantity,
            number_sites([known_site(reading.sites, number) for number in by_site]),
            present=np.ones(len(by_site), np.bool_),
            series=table,
        )


def known_site(sites: dict[int, Site], number: object) -> Site:
    """The site of that number.

    Raises:
        ValueError: there is none.
    """
    if not isinstance(number, int) or number not in sites:
        raise ValueError(f"there is no site {number!r}")
    return sites[number]


def limit(series: int, length: int) -> None:
    """Raises if there are more numbers than a run of one's own would have.

    Raises:
        ValueError: there are.
    """
    if series * length > _MOST_NUMBERS:
        raise ValueError(f"{series} series of {length} steps are too many")


def read_columns(
    connection: sqlite3.Connection,
    query: str,
    parameters: tuple[object, ...],
    types: str,
) -> list[NDArray[Any]]:
    """The columns of a query's answer; NULL and ``'NaN'`` both become NaN."""
    dtype = np.dtype([(f"column_{i}", code) for i, code in enumerate(types.split())])
    table = np.fromiter(connection.execute(query, parameters), dtype=dtype)
    return [table[name].copy() for name in dtype.names or ()]
