"""Readings as the rows that are stored of them."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from nndiag.records import ROLES, Array, Readings, Site, TensorStats
from nndiag.store.schema import COLUMNS, DETAILS, number

INSERT_READING = (
    f"INSERT OR REPLACE INTO reading VALUES ({', '.join('?' * (3 + len(COLUMNS)))})"
)
INSERT_DETAIL = "INSERT OR REPLACE INTO detail VALUES (?, ?, ?, ?, ?)"

_Rows = list[tuple[Any, ...]]


def rows_of(
    step: int, readings: Readings, identify: Callable[[Site], int]
) -> tuple[_Rows, _Rows]:
    """The rows of one step for the tables ``reading`` and ``detail``.

    Args:
        step: its number.
        readings: plain floats.
        identify: the number of a site in the database.
    """
    rows: _Rows = []
    details: _Rows = []
    for role in ROLES:
        by_site: dict[Site, TensorStats] = getattr(readings, role)
        for site, stats in by_site.items():
            place = step, role, identify(site)
            cells = _in_columns(stats)
            if not all(map(_is_plain, cells)):
                cells = map(_cell, cells)
            rows.append((*place, *cells))
            details += [
                (*place, name, number(value))
                for name in DETAILS
                if (value := getattr(stats, name)) is not None
            ]
    return rows, details


_in_columns = operator.itemgetter(*map(TensorStats._fields.index, COLUMNS))


def _is_plain(value: Array | None) -> bool:
    """Whether SQLite stores it as it is: nothing, or a float that is no NaN."""
    return value is None or (type(value) is float and value == value)


def _cell(value: Array | None) -> float | str | None:
    return None if value is None else number(value)
