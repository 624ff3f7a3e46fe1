"""The errors of one leaf as a picture: any array laid out as a plane, and thinned."""

from __future__ import annotations

from math import prod
from typing import cast

import numpy as np

from nndiag.records import Floats
from nndiag.records.gradcheck import LeafCheck
from nndiag.report.picture import ErrorMap
from nndiag.report.units import count, number, printable

MOST_CELLS = 96
"""Cells along each side of a map at most: more would be smaller than a dot."""

_LONGEST = 30
"""Characters of a path in a title."""


def error_map(leaf: LeafCheck, name: str) -> ErrorMap | None:
    """Where in a leaf the errors are.

    A matrix is shown as it is written: first axis downwards, second across. A vector
    is one row, a scalar one cell; of more axes, all but the last run downwards.

    Args:
        leaf: with the relative error of each element that was looked at.
        name: of the picture.

    Returns:
        `None` if no element of the leaf was looked at alone.
    """
    errors = cast("Floats | None", leaf.errors)
    if errors is None or not np.isfinite(errors).any():
        return None
    errors = np.asarray(errors, dtype=np.float64)
    shape = errors.shape or (1,)
    plane = errors.reshape(-1, shape[-1])
    looked = int(np.count_nonzero(~np.isnan(plane)))
    worst, label = None, ""
    if leaf.worst_index is not None:
        flat = int(np.ravel_multi_index(leaf.worst_index, errors.shape))
        row, column = divmod(flat, shape[-1])
        worst, label = (row, column), f"{index(leaf.worst_index)}: "
        label = label.removeprefix("the scalar: ") + number(float(plane[row, column]))
    path = printable(leaf.path)
    return ErrorMap(
        name=name,
        title=f"Relative error of {_tail(path)}",
        hint="Grey was not looked at by itself; the ring is the largest error.",
        alternative=f"Relative errors of {looked:,} of {count(plane.size, 'element')} "
        f"of {path}, the largest {label or number(float(np.nanmax(plane)))}.",
        values=thin(plane),
        rows=prod(shape[:-1]),
        columns=shape[-1],
        vertical=_axes(len(shape) - 1),
        horizontal=f"axis {len(shape) - 1}" if errors.ndim else "",
        worst=worst,
        label=label,
    )


def index(place: tuple[int, ...]) -> str:
    """An element's index as Python writes it.

    Example:
        >>> index((3, 7)), index(())
        ('[3, 7]', 'the scalar')
    """
    return f"[{', '.join(map(str, place))}]" if place else "the scalar"


def thin(plane: Floats) -> Floats:
    """The plane in at most `MOST_CELLS` blocks a side, the largest value of each.

    Example:
        >>> thin(np.asarray([[np.nan, 2.0, 1.0]]))
        array([[nan,  2.,  1.]])
    """
    for axis in (0, 1):
        length = plane.shape[axis]
        cells = min(length, MOST_CELLS)
        starts = [cell * length // cells for cell in range(cells)]
        # fmax passes over NaN: a block is unknown only if all of it is
        plane = np.fmax.reduceat(plane, starts, axis=axis)
    return plane


def _tail(path: str) -> str:
    """The end of a path, which tells most, as long as a title has room for."""
    return path if len(path) <= _LONGEST else f"…{path[-(_LONGEST - 1) :]}"


def _axes(leading: int) -> str:
    if not leading:
        return ""
    return "axis 0" if leading == 1 else f"axes 0–{leading - 1}"
