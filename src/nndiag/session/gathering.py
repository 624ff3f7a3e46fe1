"""Packed readings as plain numbers: where each goes is found once for a layout."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from nndiag.probes.packing import Layout, PackedReadings
from nndiag.records import (
    ARRAYS,
    QUANTITIES,
    ROLES,
    Arrangement,
    Gathered,
    Panel,
    Readings,
    Role,
    Site,
    TensorStats,
)
from nndiag.session.layering import OWN_AXES, by_layer, places
from nndiag.session.reduction import (
    reduce_examples,
    reduce_loss,
    reduce_readings,
    reduce_stats,
)


def plain(readings: Readings | PackedReadings) -> Readings | Gathered | None:
    """Readings, perhaps on a device, as plain numbers (see `reduce_readings`)."""
    if isinstance(readings, PackedReadings) and np.ndim(readings.numbers) == 1:
        return gather(readings.layout, np.asarray(readings.numbers))
    return reduce_readings(jax.device_get(readings))


def gather(layout: Layout, numbers: Any) -> Readings | Gathered | None:
    """The readings of one step as `reduce_readings` gives them.

    Args:
        layout: how they are laid out.
        numbers: NumPy array of one axis.

    Returns:
        `None` if nothing was measured. They are still one vector if each scalar
        stands at one position in it.
    """
    return _plan(layout).gather(numbers)


class _Entry(NamedTuple):
    """A place whose scalars each stand at one position.

    Attributes:
        role: what of the place was measured.
        place: a site that stands in no scan over layers.
        arrays: for each array the positions of its numbers; `None` where there is
            none.
    """

    role: Role
    place: Site
    arrays: tuple[NDArray[np.int64] | None, ...]


class _Plan:
    """Where the numbers of one layout go."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._entries: list[_Entry] = []
        self._odd: list[tuple[Role, Site, TensorStats]] = []
        tree = layout.leaves
        self._loss, self._finite, self._examples = tree.loss, tree.finite, tree.examples
        rows: list[list[int]] = []
        for role in ROLES:
            for site, leaves in getattr(tree, role).items():
                found = self._positions(site, leaves)
                if found is None:
                    self._odd.append((role, site, leaves))
                    continue
                for place, (positions, arrays) in zip(places(site), found, strict=True):
                    self._entries.append(_Entry(role, place, arrays))
                    rows.append(positions)
        self._arrangement = None if self._odd else self._arrange(rows)
        self._rows = np.array(rows, np.int64).reshape(len(rows), len(QUANTITIES))
        self._missing = self._rows < 0

    def gather(self, numbers: Any) -> Readings | Gathered | None:
        """The readings in `numbers`."""
        if self._loss is None:
            return None
        if self._arrangement is None:
            return self._read(numbers)
        finite = float(self._part(numbers, self._finite).min())
        loss = reduce_loss(self._part(numbers, self._loss))
        return Gathered(numbers, self._arrangement, loss=loss, finite=finite)

    def _arrange(self, rows: list[list[int]]) -> Arrangement:
        """Where the scalars of all places stand, those with the same together."""
        alike: dict[tuple[Role, tuple[str, ...]], list[tuple[Site, list[int]]]]
        alike = defaultdict(list)
        arrays: set[str] = set() if self._examples is None else {"examples"}
        for entry, row in zip(self._entries, rows, strict=True):
            names = tuple(q for q, at in zip(QUANTITIES, row, strict=True) if at >= 0)
            alike[entry.role, names].append(
                (entry.place, [at for at in row if at >= 0])
            )
            arrays.update(
                name
                for name, one in zip(ARRAYS, entry.arrays, strict=True)
                if one is not None
            )
        panels = tuple(
            Panel(
                role,
                names,
                tuple(place for place, _ in places),
                np.array([at for _, at in places], np.int64).reshape(len(places), -1),
            )
            for (role, names), places in alike.items()
        )
        return Arrangement(panels, frozenset(arrays), self._read)

    def _read(self, numbers: Any) -> Readings:
        """The readings in `numbers`, taken apart."""
        finite = float(self._part(numbers, self._finite).min())
        roles: dict[Role, dict[Site, TensorStats]] = {role: {} for role in ROLES}
        table = numbers[self._rows].astype(np.float64).astype(object)
        table[self._missing] = None
        for entry, scalars in zip(self._entries, table.tolist(), strict=True):
            if entry.arrays is _NONE:
                stats = TensorStats(*scalars)
            else:
                arrays = (None if one is None else numbers[one] for one in entry.arrays)
                stats = reduce_stats(TensorStats(*scalars, *arrays), finite == 1.0)
            roles[entry.role][entry.place] = stats
        for role, site, leaves in self._odd:
            for place, stats in by_layer(site, self._part(numbers, leaves)):
                roles[role][place] = reduce_stats(stats, finite == 1.0)
        loss = reduce_loss(self._part(numbers, self._loss))
        examples = reduce_examples(self._part(numbers, self._examples))
        return Readings(loss, finite, **roles, examples=examples)

    def _positions(
        self, site: Site, leaves: TensorStats
    ) -> list[tuple[list[int], Any]] | None:
        """For each layer its positions; `None` if a leaf has axes besides layers."""
        lengths = tuple(axis.length for axis in site.axes)
        if 0 in lengths:
            return None
        spread: list[NDArray[np.int64] | None] = []
        for name, leaf in zip(TensorStats._fields, leaves, strict=True):
            if leaf is None:
                spread.append(None)
                continue
            own = self.layout.places[leaf].positions
            layers = own.shape[: own.ndim - OWN_AXES.get(name, 0)]
            if layers != lengths:
                return None
            shape = (math.prod(lengths), *own.shape[len(layers) :])
            spread.append(own.reshape(shape))
        found: list[tuple[list[int], Any]] = []
        count = len(QUANTITIES)
        for number in range(math.prod(lengths)):
            own = [None if each is None else each[number] for each in spread]
            scalars = [-1 if at is None else int(at) for at in own[:count]]
            arrays = tuple(own[count:])
            empty = all(at is None for at in arrays)
            found.append((scalars, _NONE if empty else arrays))
        return found

    def _part(self, numbers: Any, leaf: Any) -> Any:
        return self.layout.unpack(numbers, leaf)


_NONE: tuple[None, ...] = (None,) * len(ARRAYS)
_MOST_PLANS = 64
_plans: dict[int, _Plan] = {}


def _plan(layout: Layout) -> _Plan:
    """The plan for this very layout: equal ones may be of sites of other types."""
    plan = _plans.get(id(layout))
    if plan is None or plan.layout is not layout:
        if len(_plans) >= _MOST_PLANS:
            _plans.clear()
        plan = _plans[id(layout)] = _Plan(layout)
    return plan
