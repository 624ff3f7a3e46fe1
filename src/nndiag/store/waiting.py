"""Readings that wait to be stored: many steps at once cost less than one by one."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from nndiag.records import ARRAYS, Array, Gathered, Readings, Site
from nndiag.store.batches import insert_examples
from nndiag.store.coverage import Coverages
from nndiag.store.rows import blocks_of_step, blocks_of_steps, insert_block
from nndiag.store.samples import Samples
from nndiag.store.vectors import VECTORS, vectors_of

_MOST_NUMBERS = 1 << 20
"""Numbers that may wait; a model of a million places has more in a single step."""

_Step = tuple[int, Readings | Gathered]


class Waiting:
    """Takes readings step by step and inserts them together.

    Args:
        identify: the number of a site in the database.
    """

    def __init__(self, identify: Callable[[sqlite3.Connection, Site], int]) -> None:
        self._identify = identify
        self._steps: list[_Step] = []
        self._numbers = 0
        self._samples, self._vectors = Samples(), Samples("vector")
        self._coverages = Coverages()

    def add(self, step: int, readings: Readings | Gathered) -> bool:
        """Takes the readings of one step; whether as many wait as may."""
        self._steps.append((step, readings))
        if isinstance(readings, Gathered):
            self._numbers += len(readings.numbers)
        return self._numbers > _MOST_NUMBERS or not isinstance(readings, Gathered)

    def take(self) -> Iterator[tuple[str, Callable[[sqlite3.Connection], None]]]:
        """What waits, in parts to insert one by one: a name of each, and what to do."""
        steps, self._steps, self._numbers = self._steps, [], 0
        for _, group in itertools.groupby(steps, _arranged):
            numbers, readings = zip(*group, strict=True)
            first, last = numbers[0], numbers[-1]
            name = f"step {first}" if first == last else f"steps {first} to {last}"
            insert = partial(self._insert, steps=numbers, readings=readings)
            yield f"the readings of {name}", insert

    def insert_arrays(self, connection: sqlite3.Connection) -> None:
        """Inserts the arrays of the steps that were inserted."""
        self._samples.insert(connection)
        self._vectors.insert(connection)
        self._coverages.insert(connection)

    def _insert(
        self,
        connection: sqlite3.Connection,
        steps: Sequence[int],
        readings: Sequence[Readings | Gathered],
    ) -> None:
        """Inserts the readings of steps that are arranged alike."""

        def identify(site: Site) -> int:
            return self._identify(connection, site)

        alike = [one for one in readings if isinstance(one, Gathered)]
        blocks = [blocks_of_steps(steps, alike)] if alike else []
        blocks += [
            blocks_of_step(step, one)
            for step, one in zip(steps, readings, strict=True)
            if not isinstance(one, Gathered)
        ]
        for block in itertools.chain(*blocks):
            insert_block(connection, block, identify)
        for step, one in zip(steps, readings, strict=True):
            self._keep_arrays(connection, step, one, step == steps[-1], identify)
        # Last: a step counts as recorded once all its readings are there.
        connection.executemany(
            "INSERT OR REPLACE INTO recorded VALUES (?, ?)",
            [
                (step, float(one.finite) == 1.0)
                for step, one in zip(steps, readings, strict=True)
            ],
        )

    def _keep_arrays(
        self,
        connection: sqlite3.Connection,
        step: int,
        readings: Readings | Gathered,
        latest: bool,
        identify: Callable[[Site], int],
    ) -> None:
        """Looks only at what will be kept: it must be taken apart for that."""
        gathered = isinstance(readings, Gathered)
        has = readings.arrangement.arrays if gathered else {*ARRAYS, "examples"}
        if "sample" in has and (latest or self._samples.lasts(step)):
            samples: dict[tuple[int | str, ...], Array] = {
                (identify(site),): stats.sample
                for site, stats in readings.value.items()
                if stats.sample is not None
            }
            self._samples.keep(step, samples)
        if has.intersection(VECTORS) and (latest or self._vectors.lasts(step)):
            self._vectors.keep(step, vectors_of(readings, identify))
        if "rows" in has:
            for site, stats in readings.gradient.items():
                if stats.rows is not None:
                    self._coverages.add(step, identify(site), stats.rows)
        if "examples" in has and readings.examples is not None:
            insert_examples(connection, step, readings.examples)


def _arranged(step: _Step) -> int:
    """Alike for steps that are arranged alike."""
    _, readings = step
    return id(readings.arrangement if isinstance(readings, Gathered) else readings)
