"""Histograms and statistics of single units, of the steps that samples are kept of."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import numpy as np

from nndiag.records import (
    HISTOGRAM_BINS,
    ROLES,
    Array,
    Floats,
    Gathered,
    Readings,
    Role,
    Site,
    TensorStats,
)
from nndiag.store.schema import LARGEST_CELL
from nndiag.store.series import has_table, known_site

VECTORS = ("histogram", "units")
"""Fields of `TensorStats` that are stored as arrays; `units` has two rows."""

_MOST_BYTES = 1 << 26
_BYTES = 4

Vectors = dict[tuple[Role, str, Site, int], Floats]
"""Arrays by role, quantity, site and step."""


def vectors_of(
    readings: Readings | Gathered, identify: Callable[[Site], int]
) -> dict[tuple[str, int, str], Array]:
    """The arrays of one step, by role, number of the site, and quantity.

    What does not fit into a cell is left out: of a layer of 131,072 units or more.
    """
    found: dict[tuple[str, int, str], Array] = {}
    for role in ROLES:
        by_site: dict[Site, TensorStats] = getattr(readings, role)
        for site, stats in by_site.items():
            for quantity in VECTORS:
                array = getattr(stats, quantity)
                if array is not None and np.size(array) * _BYTES < LARGEST_CELL:
                    found[role, identify(site), quantity] = np.ravel(array)
    return found


def read_vectors(
    connection: sqlite3.Connection, sites: dict[int, Site]
) -> tuple[Vectors, list[str]]:
    """The arrays that are stored, and a note if they are more than memory holds.

    Of too many those of the first and the last step are read.
    """
    if not has_table(connection, "vector"):
        return {}, []
    stored, size, first, last = connection.execute(
        "SELECT count(*), total(length(elements)), min(step), max(step) FROM vector"
    ).fetchone()
    query = "SELECT step, role, site, quantity, elements FROM vector"
    order = "ORDER BY step, role, site, quantity"
    if size <= _MOST_BYTES:
        rows = connection.execute(f"{query} {order}")
    else:
        rows = connection.execute(
            f"{query} WHERE step IN (?, ?) {order}", (first, last)
        )
    found: Vectors = {}
    for step, role, number, quantity, elements in rows:
        if role not in ROLES or quantity not in VECTORS:
            raise ValueError(f"there is a {quantity!r} of a {role!r}")
        if type(step) is not int or not isinstance(elements, bytes):
            raise ValueError(f"{step!r} has no {quantity}")
        key = role, str(quantity), known_site(sites, number), step
        found[key] = _array(quantity, elements)
    if len(found) == stored:
        return found, []
    return found, [
        f"Read {len(found):,} of {stored:,} histograms and statistics of units: those "
        "of the first and the last step."
    ]


def _array(quantity: Any, elements: bytes) -> Floats:
    array = np.frombuffer(elements, "<f4").astype(np.float64)
    if quantity == "units":
        return array.reshape(2, -1)
    if array.shape != (HISTOGRAM_BINS,):
        raise ValueError(f"a histogram has {array.size} bins")
    return array
