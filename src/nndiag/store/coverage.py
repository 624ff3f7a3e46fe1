"""Sums up, over the recorded steps, which rows of a table had a gradient."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nndiag.records import Array, Coverage, Site, stride_of, unpack_rows
from nndiag.store.series import has_table

_Words = NDArray[np.uint16]


@dataclass
class _Sum:
    words: _Words
    steps: int = 0
    latest: int = -1


class Coverages:
    """The rows of each table that had a gradient at any recorded step so far.

    They are written when the rest is committed.
    """

    def __init__(self) -> None:
        self._sums: dict[int, _Sum] = {}
        self._changed: set[int] = set()

    def add(self, step: int, site: int, rows: Array) -> None:
        """Take what one step says of one table; see `nndiag.records.TensorStats.rows`.

        Args:
            step: its number.
            site: number of the table in the database.
            rows: whole numbers below 2¹⁶, the bits of 16 rows each.
        """
        words = np.asarray(rows).astype(np.uint16)
        known = self._sums.setdefault(site, _Sum(np.zeros_like(words)))
        union = known.words | words
        if (union != known.words).any():
            known.words, known.latest = union, step
        known.steps += 1
        self._changed.add(site)

    def insert(self, connection: sqlite3.Connection) -> None:
        """Write what changed, inside the transaction that is open."""
        connection.executemany(
            "INSERT OR REPLACE INTO embedding VALUES (?, ?, ?, ?)",
            [
                (site, known.steps, known.latest, known.words.astype("<u2").tobytes())
                for site in self._changed
                for known in [self._sums[site]]
            ],
        )
        self._changed.clear()


def read_coverage(
    connection: sqlite3.Connection, sites: dict[int, Site]
) -> dict[Site, Coverage]:
    """What is stored of each table."""
    found: dict[Site, Coverage] = {}
    if not has_table(connection, "embedding"):
        return found
    for number, steps, latest, touched in connection.execute(
        "SELECT site, steps, latest, touched FROM embedding ORDER BY site"
    ):
        site = sites.get(number)
        integers = type(steps) is int and type(latest) is int
        if site is None or not integers or not isinstance(touched, bytes):
            raise ValueError(f"the rows of site {number!r} are not known")
        rows = site.shape[0] if site.shape else 0
        bits = unpack_rows(np.frombuffer(touched, "<u2"), rows)
        found[site] = Coverage(bits, stride_of(rows), steps, latest)
    return found
