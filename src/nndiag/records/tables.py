"""Many series in few arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nndiag.records.readings import Role
from nndiag.records.site import Site

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Key = tuple[Role, str, Site]


class _Table(NamedTuple):
    """The series of one role and quantity.

    Attributes:
        positions: the role's sites, and the position of each.
        rows: by position the row in `series`, -1 where there is none.
        series: one series in each row.
    """

    positions: Mapping[Site, int]
    rows: Integers
    series: Floats


class Tables(Mapping[Key, Floats]):
    """Series by role, quantity and site, each a row of a larger array.

    A million arrays of their own would take more memory than the numbers in them.
    """

    def __init__(self) -> None:
        """No series yet."""
        self._tables: dict[tuple[Role, str], _Table] = {}

    def add(
        self,
        role: Role,
        quantity: str,
        positions: Mapping[Site, int],
        *,
        present: NDArray[np.bool_],
        series: Floats,
    ) -> None:
        """Take in the series of one role and quantity.

        Args:
            role: the role.
            quantity: the quantity.
            positions: sites, numbered from 0 in their order.
            present: which of them have a series, by position.
            series: the series of these, a row each.
        """
        rows = np.where(present, np.cumsum(present) - 1, -1)
        self._tables[role, quantity] = _Table(positions, rows, series)

    def __getitem__(self, key: Key) -> Floats:
        """The series of a role, quantity and site."""
        role, quantity, site = key
        table = self._tables[role, quantity]
        row = table.rows[table.positions[site]]
        if row < 0:
            raise KeyError(key)
        return table.series[row]

    def stacked(
        self, role: Role, quantity: str, sites: Sequence[Site], length: int
    ) -> Floats:
        """The series of many sites, one below the other; NaN where there is none.

        Args:
            role: the role.
            quantity: the quantity.
            sites: the sites.
            length: of a series.
        """
        table = self._tables.get((role, quantity))
        if table is None:
            return np.full((len(sites), length), np.nan)
        nowhere = len(table.rows)
        at = [table.positions.get(site, nowhere) for site in sites]
        rows = np.append(table.rows, -1)[at]
        stacked = table.series[rows]
        stacked[rows < 0] = np.nan
        return stacked

    def __iter__(self) -> Iterator[Key]:
        """The keys, role by role, quantity by quantity."""
        for (role, quantity), table in self._tables.items():
            for site, at in table.positions.items():
                if table.rows[at] >= 0:
                    yield role, quantity, site

    def __len__(self) -> int:
        """How many series there are."""
        return sum(len(table.series) for table in self._tables.values())


def number_sites(sites: Sequence[Site]) -> dict[Site, int]:
    """The sites, numbered from 0."""
    return {site: at for at, site in enumerate(sites)}
