"""Readings as the rows that are stored of them."""

from __future__ import annotations

import itertools
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nndiag.records import (
    QUANTITIES,
    ROLES,
    Gathered,
    Readings,
    Role,
    Site,
    TensorStats,
)
from nndiag.store.schema import COLUMNS, DETAILS, number


class Block(NamedTuple):
    """The same quantities of the same places at several steps.

    Attributes:
        role: what of the places was measured.
        quantities: names of scalar quantities.
        sites: the places.
        steps: numbers of the steps.
        values: the numbers, shape ``(steps, sites, quantities)``.
    """

    role: Role
    quantities: tuple[str, ...]
    sites: Sequence[Site]
    steps: Sequence[int]
    values: NDArray[Any]


def blocks_of_step(step: int, readings: Readings) -> Iterator[Block]:
    """The scalars of one step, in as few blocks as there are sets of quantities."""
    for role in ROLES:
        alike: dict[tuple[str, ...], tuple[list[Site], list[list[float]]]] = (
            defaultdict(lambda: ([], []))
        )
        by_site: dict[Site, TensorStats] = getattr(readings, role)
        for site, stats in by_site.items():
            measured = {
                name: float(value)
                for name, value in zip(QUANTITIES, stats, strict=False)
                if value is not None
            }
            sites, values = alike[tuple(measured)]
            sites.append(site)
            values.append(list(measured.values()))
        for quantities, (sites, values) in alike.items():
            yield Block(role, quantities, sites, [step], np.array([values], np.float64))


def blocks_of_steps(
    steps: Sequence[int], readings: Sequence[Gathered]
) -> Iterator[Block]:
    """The scalars of steps whose readings are arranged alike."""
    numbers = np.stack([one.numbers for one in readings])
    for panel in readings[0].arrangement.panels:
        values = numbers[:, panel.positions]
        yield Block(panel.role, panel.quantities, panel.sites, steps, values)


def insert_block(
    connection: sqlite3.Connection, block: Block, identify: Callable[[Site], int]
) -> None:
    """Stores or replaces the rows of one block.

    Only what was measured is bound: to bind a NULL to each other column would take
    more time than all the rest.

    Args:
        connection: of the run.
        block: what is stored.
        identify: the number of a site in the database.
    """
    sites = [identify(site) for site in block.sites]
    columns = [at for at, name in enumerate(block.quantities) if name in COLUMNS]
    names = ["step", "site", "role", *(block.quantities[at] for at in columns)]
    connection.executemany(
        f"INSERT OR REPLACE INTO reading ({', '.join(names)}) "
        f"VALUES (?, ?, '{block.role}'{', ?' * len(columns)})",
        _rows(block.steps, sites, block.values[..., columns]),
    )
    for at, name in enumerate(block.quantities):
        if name in DETAILS:
            connection.executemany(
                "INSERT OR REPLACE INTO detail (step, site, role, quantity, value) "
                f"VALUES (?, ?, '{block.role}', '{name}', ?)",
                _rows(block.steps, sites, block.values[..., [at]]),
            )


def _rows(
    steps: Sequence[int], sites: Sequence[int], values: NDArray[Any]
) -> Iterator[tuple[Any, ...]]:
    """Step, site and numbers of each row."""
    cells: list[list[Any]] = values.reshape(-1, values.shape[-1]).tolist()
    if np.isnan(values).any():
        cells = [list(map(number, row)) for row in cells]
    for (step, site), row in zip(itertools.product(steps, sites), cells, strict=True):
        yield step, site, *row
