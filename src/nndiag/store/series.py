"""The series of readings of a run."""

from __future__ import annotations

import json
import sqlite3
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from nndiag.records import Floats, Integers, Role, Site
from nndiag.store.schema import COLUMNS, DETAILS, SINCE

Series = dict[tuple[Role, str, Site], Floats]
_ROLES: tuple[Role, ...] = get_args(Role)
_MOST_NUMBERS = 1 << 27  # 1 GiB of float64; only a crafted database asks for more


def read_series(
    connection: sqlite3.Connection, sites: dict[int, Site], recorded: Integers
) -> Series:
    """Each series that has a reading at one of the `recorded` steps."""
    chosen = json.dumps(recorded.tolist())
    where = "role = ? AND step IN (SELECT value FROM json_each(?))"
    counts = ", ".join(f"count({quantity})" for quantity in COLUMNS)
    readings: Series = {}
    for role in _ROLES:
        measured = {
            number: [
                quantity for quantity, count in zip(COLUMNS, row, strict=True) if count
            ]
            for number, *row in connection.execute(
                f"SELECT site, {counts} FROM reading WHERE {where} GROUP BY site",
                (role, chosen),
            )
        }
        present = [q for q in COLUMNS if any(q in own for own in measured.values())]
        limit(sum(map(len, measured.values())), len(recorded))
        step, site, *columns = read_columns(
            connection,
            f"SELECT {', '.join(['step', 'site', *present])} FROM reading "
            f"WHERE {where} ORDER BY site, step",
            (role, chosen),
            "i8 i8" + " f8" * len(present),
        )
        values = dict(zip(present, columns, strict=True))
        for number, quantities in measured.items():
            first, end = np.searchsorted(site, [number, number + 1])
            where_recorded = np.searchsorted(recorded, step[first:end])
            for quantity in quantities:
                series = np.full(recorded.shape, np.nan)
                series[where_recorded] = values[quantity][first:end]
                readings[role, quantity, known_site(sites, number)] = series
    if has_table(connection, "detail"):
        _add_details(connection, sites, recorded, readings)
    return readings


def has_table(connection: sqlite3.Connection, name: str) -> bool:
    """Whether the database is of a version that has this table."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return version >= SINCE[name]


def _add_details(
    connection: sqlite3.Connection,
    sites: dict[int, Site],
    recorded: Integers,
    readings: Series,
) -> None:
    rows = connection.execute(
        "SELECT role, site, quantity, step, value FROM detail "
        "WHERE step IN (SELECT value FROM json_each(?))",
        (json.dumps(recorded.tolist()),),
    )
    for role, number, quantity, step, value in rows:
        if role not in _ROLES or quantity not in DETAILS:
            raise ValueError(f"there is a {quantity!r} of a {role!r}")
        key = role, quantity, known_site(sites, number)
        if key not in readings:
            limit(len(readings), len(recorded))
            readings[key] = np.full(recorded.shape, np.nan)
        readings[key][np.searchsorted(recorded, step)] = float(value)


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
