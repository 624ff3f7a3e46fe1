"""Which rows of an embedding table ever had a gradient."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST_ROWS = 65_536
"""Rows that are watched at most; of a larger table, evenly spaced ones."""

WORD = 16
"""Rows whose bits share one number: exact in float32."""


def stride_of(rows: int) -> int:
    """One row in this many is watched, of a table of so many rows.

    Example:
        >>> stride_of(50_257), stride_of(250_000)
        (1, 4)
    """
    return -(-rows // MOST_ROWS)


class Coverage(NamedTuple):
    """Which rows of an embedding table had a gradient at any recorded step.

    Attributes:
        touched: of each watched row, row `i · stride` of the table.
        stride: one row in `stride` is watched.
        steps: recorded steps that it is known of.
        latest: the last step at which a row had its first gradient; −1 if none had.
    """

    touched: NDArray[np.bool_]
    stride: int
    steps: int
    latest: int

    @property
    def share(self) -> float:
        """Share of the watched rows that had a gradient, 0 to 1."""
        return float(self.touched.mean())


def unpack_rows(words: NDArray[np.uint16], rows: int) -> NDArray[np.bool_]:
    """A bool for each watched row of a table, from the bits of its words.

    Args:
        words: one for each 16 watched rows, the first in the lowest bit.
        rows: of the table.

    Raises:
        ValueError: the words are of another table.

    Example:
        >>> unpack_rows(np.array([0b101], np.uint16), 4).tolist()
        [True, False, True, False]
    """
    watched = -(-rows // stride_of(rows)) if rows else 0
    if len(words) != -(-watched // WORD):
        raise ValueError(f"{len(words)} words are not those of {rows} rows")
    bits = np.unpackbits(words.astype("<u2").view(np.uint8), bitorder="little")
    return bits[:watched].astype(bool)
