"""Many layers in a short table: the worst on their own, the rest by scope.

A table of more rows than a screen has lines is not read. Of more than `ROWS` layers
those stand on their own that findings name, and the extremes of each number; the others
are told together, siblings such as ``blocks[0]/mlp`` to ``blocks[95]/mlp`` as one row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from nndiag.records import Floats, Integers, Severity
from nndiag.report.layers import FIELDS, LayerRow, Numbers, function_of
from nndiag.report.units import printable
from nndiag.rules.functions import STEEPEST

ROWS = 24
"""Rows of a layer table at most: with its heading, what a screen of 30 lines shows."""

_ALONE = 12
"""Rows of layers that stand on their own for being the worst: half of the table."""

_EACH = 3
"""Layers that one finding can put forward."""

_ENDS = 2
"""Layers that each number can put forward."""

_DEEPEST = 8
"""Parts of a scope's path that are told apart at most."""

_TWO_SIDED = ("gradient", "update")
"""Numbers that are bad at either end."""

_INDEX = re.compile("(?<![0-9])[0-9]{1,9}(?![0-9])")

_ORDER: tuple[Severity, ...] = ("info", "warning", "error")

Marks = Mapping[str, Severity]
"""Verdicts on the numbers of a row, by field of `LayerRow`."""


@dataclass(frozen=True)
class Spread:
    """One number of many layers at the last step; NaN if none measured it.

    Attributes:
        low: the smallest.
        median: over the layers.
        high: the largest.
        lost: number of layers in which it was not finite any more at the end.
    """

    low: float
    median: float
    high: float
    lost: int = 0


@dataclass(frozen=True, kw_only=True)
class ScopeRow:
    """Many layers in one row of the layer table.

    Attributes:
        name: their scopes, with ranges in place of indices: ``"blocks[0–95]/mlp"``.
        layers: how many they are.
        function: their activation function, ``""`` if they differ or have none.
        flat_at_zero: see `LayerRow.flat_at_zero`; of all of them.
        saturation: see `LayerRow`, as the others.
        slope: see `LayerRow`.
        gradient: see `LayerRow`.
        update: see `LayerRow`.
        headroom: see `LayerRow`.
    """

    name: str
    layers: int
    function: str
    flat_at_zero: bool
    saturation: Spread
    slope: Spread
    gradient: Spread
    update: Spread
    headroom: Spread


TableRow = LayerRow | ScopeRow


def worst(
    numbers: Numbers, found: Sequence[tuple[str, Integers]] = (), most: int = _ALONE
) -> list[int]:
    """Positions of the layers to show on their own, in forward order.

    Each finding puts forward its worst layers, then each number its extremes, in turn
    until there are enough.

    Args:
        numbers: of all layers.
        found: for each finding the number that it is about, ``""`` for none, and the
            positions of its layers.
        most: how many at most.
    """
    every = np.arange(len(numbers.layers))
    named = [
        (_worst_first(numbers, field, at) if field and len(at) > _EACH else at)[:_EACH]
        for field, at in found
    ]
    lost = [
        np.isnan(ends.last) & ~np.isnan(ends.first) for ends in numbers.ends.values()
    ]
    broken = np.flatnonzero(np.any(lost, axis=0))
    if len(broken) < len(every):
        named.append(broken[:_EACH])
    # half of a relu is flat in its normal state
    curved = every[numbers.flat_on_both_sides()]
    ends = [
        _worst_first(numbers, "saturation", curved)[:_ENDS],
        _worst_first(numbers, "headroom", every)[:_ENDS],
    ]
    for field in _TWO_SIDED:
        order = _ascending(numbers, field, every)
        ends += [order[:1], order[-1:]]
    turns = [*zip_longest(*named), *zip_longest(*ends)]
    chosen = dict.fromkeys(int(at) for turn in turns for at in turn if at is not None)
    return sorted([*chosen][:most])


def roll_up(
    numbers: Numbers,
    marks: Mapping[int, Marks],
    found: Sequence[tuple[str, Integers]],
) -> tuple[tuple[TableRow, ...], tuple[Marks, ...]]:
    """The rows of the layer table and the verdicts on their numbers.

    Up to `ROWS` layers have a row each, from input to output. Of more, the worst come
    first, then the others by scope, both from input to output.

    Args:
        numbers: of all layers.
        marks: for the layer at a position the verdicts by field of `LayerRow`.
        found: see `worst`.
    """
    count = len(numbers.layers)
    if count <= ROWS:
        every = range(count)
        rows = tuple(numbers.row(at) for at in every)
        return rows, tuple(marks.get(at, {}) for at in every)
    alone = worst(numbers, found)
    chosen = set(alone)
    groups = _grouped(
        [printable(layer.name) for layer in numbers.layers],
        [at for at in range(count) if at not in chosen],
        ROWS - len(alone),
    )
    parts = [(numbers.layers[at].name, [at]) for at in alone] + groups
    return (
        tuple(
            numbers.row(at[0]) if len(at) == 1 else _scope(numbers, name, at)
            for name, at in parts
        ),
        tuple(
            _joined(marks[at] for at in places if at in marks) for _, places in parts
        ),
    )


def _ascending(numbers: Numbers, field: str, among: Integers) -> Integers:
    """Layers by the last value of a number, the lowest first, without those of none."""
    last = numbers.ends[field].last[among]
    order = np.argsort(last, kind="stable")
    return among[order[: np.count_nonzero(~np.isnan(last))]]


def _worst_first(numbers: Numbers, field: str, among: Integers) -> Integers:
    """Layers by how bad a number is.

    Saturation is bad if high, headroom if low; gradients and updates are if far from
    what most layers have, on either side, in powers of ten.
    """
    order = _ascending(numbers, field, among)
    if field in _TWO_SIDED:
        last = numbers.ends[field].last
        with np.errstate(divide="ignore", invalid="ignore"):
            far = np.abs(np.log10(last[order] / np.nanmedian(last)))
        return order[np.argsort(-far, kind="stable")]
    return order[::-1] if field == "saturation" else order


def _grouped(
    names: Sequence[str], places: Sequence[int], room: int
) -> list[tuple[str, list[int]]]:
    """Places by common scope, as finely as there is room for, in forward order."""
    groups: dict[object, list[int]] = {}
    for keys in _keys(names, places):
        groups = {}
        for key, place in zip(keys, places, strict=True):
            groups.setdefault(key, []).append(place)
        if len(groups) <= room:
            break
    return [(_common([names[at] for at in own]), own) for own in groups.values()]


def _keys(names: Sequence[str], places: Sequence[int]) -> Iterator[list[object]]:
    """What layers must share to be told together, less and less of it."""
    split = [_split(names[at]) for at in places]
    seen: dict[tuple[str, ...], list[set[int]]] = {}
    for pattern, indices in split:
        sets = seen.setdefault(pattern, [set() for _ in indices])
        for known, index in zip(sets, indices, strict=True):
            known.add(index)
    longest = {
        pattern: max(range(len(sets)), key=lambda at: len(sets[at]), default=0)
        for pattern, sets in seen.items()
    }
    yield [
        (pattern, indices[: longest[pattern]], indices[longest[pattern] + 1 :])
        for pattern, indices in split
    ]
    yield [pattern for pattern, _ in split]
    paths = ["#".join(pattern).split("/", _DEEPEST) for pattern, _ in split]
    for depth in range(min(_DEEPEST, max(map(len, paths), default=1)) - 1, 0, -1):
        yield [tuple(path[:depth]) for path in paths]
    yield [""] * len(places)


def _split(name: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The parts of a name between its indices, and the indices."""
    indices = tuple(map(int, _INDEX.findall(name)))
    return tuple(_INDEX.split(name)), indices


def _common(names: Sequence[str]) -> str:
    """One name for many: ranges in place of indices, an ellipsis for what differs."""
    split = [_split(name) for name in names]
    if len({pattern for pattern, _ in split}) > 1:
        shared = _shared([name.split("/", _DEEPEST) for name in names])
        return f"{_common(shared)}/…" if shared[0] else "all other layers"
    (literal, *literals), _ = split[0]
    text = literal
    for place, literal in enumerate(literals):
        values = [indices[place] for _, indices in split]
        low, high = min(values), max(values)
        text += f"{low}{literal}" if low == high else f"{low}–{high}{literal}"
    return text


def _shared(paths: Sequence[Sequence[str]]) -> list[str]:
    """The beginnings of paths as far as they differ in indices only."""
    depth = 0
    for parts in zip(*paths, strict=False):
        if len({_split(part)[0] for part in parts}) > 1:
            break
        depth += 1
    return ["/".join(path[:depth]) for path in paths]


def _scope(numbers: Numbers, name: str, places: Sequence[int]) -> ScopeRow:
    """The row for many layers."""
    functions = {function_of(numbers.layers[at]) for at in places}
    spreads = {
        field: _spread(
            numbers.ends[field].first[places], numbers.ends[field].last[places]
        )
        for field in FIELDS
    }
    return ScopeRow(
        name=name,
        layers=len(places),
        function=printable(min(functions)) if len(functions) == 1 else "",
        flat_at_zero=not functions & STEEPEST.keys(),
        **spreads,
    )


def _spread(first: Floats, last: Floats) -> Spread:
    known = last[~np.isnan(last)]
    lost = int(np.count_nonzero(np.isnan(last) & ~np.isnan(first)))
    if not len(known):
        return Spread(np.nan, np.nan, np.nan, lost)
    low, high = float(known.min()), float(known.max())
    with np.errstate(invalid="ignore"):  # the middle of -Inf and Inf
        return Spread(low, float(np.median(known)), high, lost)


def _joined(many: Iterator[Marks]) -> Marks:
    """The worst verdict on each number."""
    joined: dict[str, Severity] = {}
    for marks in many:
        for field, level in marks.items():
            if _ORDER.index(level) >= _ORDER.index(joined.get(field, "info")):
                joined[field] = level
    return joined
