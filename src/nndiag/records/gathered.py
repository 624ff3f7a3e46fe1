"""The readings of one step as one vector of numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nndiag.records.readings import Readings, Role
from nndiag.records.site import Site


@dataclass(frozen=True, eq=False)
class Panel:
    """Places of one role that have the same quantities.

    Attributes:
        role: what of the places was measured.
        quantities: names of scalar quantities.
        sites: the places.
        positions: where in the vector the numbers stand, shape
            ``(sites, quantities)``.
    """

    role: Role
    quantities: tuple[str, ...]
    sites: tuple[Site, ...]
    positions: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Arrangement:
    """What the numbers in a vector are; the same object for all vectors laid out so.

    Attributes:
        panels: all scalar quantities.
        arrays: which fields of `TensorStats` and `Readings` are there as arrays.
        expand: makes `Readings` of a vector.
    """

    panels: tuple[Panel, ...]
    arrays: frozenset[str]
    expand: Callable[[NDArray[Any]], Readings]


class Gathered:
    """`Readings` that are still one vector: to take them apart costs more than a step.

    It has the attributes of `Readings`; those by place are made when they are looked
    at.

    Attributes:
        numbers: the vector.
        arrangement: what its numbers are.
        loss: as in `Readings`, a float.
        finite: as in `Readings`, a float.
    """

    def __init__(
        self,
        numbers: NDArray[Any],
        arrangement: Arrangement,
        *,
        loss: float | None,
        finite: float,
    ) -> None:
        self.numbers, self.arrangement = numbers, arrangement
        self.loss, self.finite = loss, finite

    @cached_property
    def readings(self) -> Readings:
        """The readings by place."""
        return self.arrangement.expand(self.numbers)

    def __getattr__(self, name: str) -> Any:
        if name not in Readings._fields:
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
        return getattr(self.readings, name)
