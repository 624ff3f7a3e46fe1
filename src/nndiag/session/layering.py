"""A place in a scan over layers as a place for each layer."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from nndiag.records import Site, TensorStats

OWN_AXES = {"sample": 1, "rows": 1, "histogram": 1, "units": 2}
"""Axes that a quantity has of its own; of all others an entry is one number."""


def by_layer(site: Site, stats: TensorStats) -> Iterator[tuple[Site, TensorStats]]:
    """The place and the readings of each layer, of a site in a scan over layers.

    Any other site is its own and only one. Leading axes that are over no layers stay.
    """
    if not any(axis.length for axis in site.axes):
        yield site, stats
        return
    entries = [
        None if value is None else _layers_first(site, value, OWN_AXES.get(name, 0))
        for name, value in zip(TensorStats._fields, stats, strict=True)
    ]
    for number, place in enumerate(places(site)):
        own = (None if entry is None else entry[number] for entry in entries)
        yield place, TensorStats(*own)


def places(site: Site) -> tuple[Site, ...]:
    """The place in each layer; itself if it is in no scan over layers."""
    return _places(site, tuple(vars(site).items()))


@functools.lru_cache(maxsize=4096)
def _places(site: Site, attributes: tuple[Any, ...]) -> tuple[Site, ...]:
    """The layers of a site; `attributes` tell apart what has the same name."""
    return tuple(site.layers())


def _layers_first(site: Site, value: Any, own: int) -> Any:
    """The entries of each layer, in order.

    What is the same in each iteration JAX may have computed once, outside of the scan:
    then its axis is not there.
    """
    array = np.asarray(value)
    array = array[(None,) * (len(site.axes) - (array.ndim - own))]
    first = array.ndim - own - len(site.axes)
    layers = [first + i for i, axis in enumerate(site.axes) if axis.length]
    array = np.moveaxis(array, layers, range(len(layers)))
    lengths = tuple(axis.length for axis in site.axes if axis.length)
    rest = array.shape[len(layers) :]
    array = np.broadcast_to(array, (*lengths, *rest)).reshape(math.prod(lengths), *rest)
    return array if rest else array.tolist()
