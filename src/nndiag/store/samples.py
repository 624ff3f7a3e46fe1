"""Samples of activations: choose which are stored, and read them back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from itertools import islice

import numpy as np

from nndiag.records import Array, Floats, Site
from nndiag.store.series import known_site

_MOST = 1 << 17
"""Samples to read at most: 256 MiB of 256 float64 each."""


class Samples:
    """Chooses the arrays to store: of steps 0, 1, 2, 4, 8 …, and of the latest one.

    They are written when the rest is committed; the latest replaces the one before.

    Args:
        table: where they are written, with the step before and the elements after
            what tells apart those of one step.
    """

    def __init__(self, table: str = "sample") -> None:
        self._table = table
        self._next_lasting = 0
        self._waiting: list[tuple[int, bool, dict[tuple[int | str, ...], bytes]]] = []
        self._replaceable: int | None = None  # stored step that the next one replaces

    def lasts(self, step: int) -> bool:
        """Whether the arrays of that step would be kept though others come."""
        return step >= self._next_lasting

    def keep(self, step: int, samples: Mapping[tuple[int | str, ...], Array]) -> None:
        """Take the arrays of one step, by the number of the site and what else."""
        if not samples:
            return
        lasting = self.lasts(step)
        if lasting:
            self._next_lasting = max(1, 2 * step)
        if self._waiting and not self._waiting[-1][1]:
            self._waiting.pop()
        elements = {
            key: np.asarray(sample, dtype="<f4").tobytes()
            for key, sample in samples.items()
        }
        self._waiting.append((step, lasting, elements))

    def insert(self, connection: sqlite3.Connection) -> None:
        """Write what was taken, inside the transaction that is open."""
        for step, lasting, samples in self._waiting:
            connection.execute(
                f"DELETE FROM {self._table} WHERE step = ?", (self._replaceable,)
            )
            places = ", ".join("?" * (2 + len(next(iter(samples)))))
            connection.executemany(
                f"INSERT OR REPLACE INTO {self._table} VALUES ({places})",
                [(step, *key, elements) for key, elements in samples.items()],
            )
            self._replaceable = None if lasting else step
        self._waiting.clear()


def read_samples(
    connection: sqlite3.Connection, sites: dict[int, Site]
) -> tuple[dict[tuple[Site, int], Floats], list[str]]:
    """The samples by site and step, and a note if they are more than memory holds.

    Of too many samples those of the first and the last step are read, of evenly spaced
    places.
    """
    (stored,) = connection.execute("SELECT count(*) FROM sample").fetchone()
    if stored <= _MOST:
        query = "SELECT site, step, elements FROM sample ORDER BY step, site"
        return _by_place(connection.execute(query), sites), []
    first, last = connection.execute(
        "SELECT min(step), max(step) FROM sample"
    ).fetchone()
    samples: dict[tuple[Site, int], Floats] = {}
    every = 1
    for step in dict.fromkeys((first, last)):
        query = (
            "SELECT site, step, elements FROM sample JOIN site ON site.id = site "
            "WHERE step = ? ORDER BY position"
        )
        count = "SELECT count(*) FROM sample WHERE step = ?"
        (places,) = connection.execute(count, (step,)).fetchone()
        every = max(every, -(-places // (_MOST // 2)))
        rows = islice(connection.execute(query, (step,)), 0, None, every)
        samples |= _by_place(rows, sites)
    which = f" of one place in {every:,}" if every > 1 else ""
    return samples, [
        f"Read {len(samples):,} of {stored:,} samples of activations: those of the "
        f"first and the last step{which}."
    ]


def _by_place(
    rows: Iterable[tuple[object, object, bytes]], sites: dict[int, Site]
) -> dict[tuple[Site, int], Floats]:
    samples: dict[tuple[Site, int], Floats] = {}
    for number, step, elements in rows:
        if type(step) is not int:
            raise ValueError(f"{step!r} is not a step")
        values = np.frombuffer(elements, dtype="<f4").astype(np.float64)
        samples[known_site(sites, number), step] = values
    return samples
