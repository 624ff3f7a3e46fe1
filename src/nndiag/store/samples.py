"""Choose whose samples of activations are stored."""

from __future__ import annotations

import sqlite3

import numpy as np

from nndiag.records import Array


class Samples:
    """Chooses the samples to store: of steps 0, 1, 2, 4, 8 …, and of the latest one.

    They are written when the rest is committed; the latest replaces the one before.
    """

    def __init__(self) -> None:
        self._next_lasting = 0
        self._waiting: list[tuple[int, bool, dict[int, bytes]]] = []
        self._replaceable: int | None = None  # stored step that the next one replaces

    def keep(self, step: int, samples: dict[int, Array]) -> None:
        """Take the samples of one step, by number of the site."""
        if not samples:
            return
        lasting = step >= self._next_lasting
        if lasting:
            self._next_lasting = max(1, 2 * step)
        if self._waiting and not self._waiting[-1][1]:
            self._waiting.pop()
        elements = {
            site: np.asarray(sample, dtype="<f4").tobytes()
            for site, sample in samples.items()
        }
        self._waiting.append((step, lasting, elements))

    def insert(self, connection: sqlite3.Connection) -> None:
        """Write what was taken, inside the transaction that is open."""
        for step, lasting, samples in self._waiting:
            connection.execute(
                "DELETE FROM sample WHERE step = ?", (self._replaceable,)
            )
            connection.executemany(
                "INSERT OR REPLACE INTO sample VALUES (?, ?, ?)",
                [(step, site, elements) for site, elements in samples.items()],
            )
            self._replaceable = None if lasting else step
        self._waiting.clear()
