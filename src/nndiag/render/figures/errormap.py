# pyright: reportUnknownMemberType=false
# Matplotlib's stubs leave some of its arguments without a type.
"""Where in an array the errors are: a plane of them in logarithmic colours."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from nndiag.records import Floats
from nndiag.render.figures import style
from nndiag.render.figures.heatmap import paint
from nndiag.render.theme import LIGHT
from nndiag.report.picture import ErrorMap

LOWEST, HIGHEST = -8, 0
"""Powers of ten at the ends of the colours: below is rounding, above is nonsense."""

_UNSEEN = (0.5, 0.5, 0.5, 0.18)
"""Grey on white as well as on black."""

_TALLEST = 3.4
_LOWEST_ROW = 0.45
_CELL = 0.3


def draw_error_map(picture: ErrorMap, *, titled: bool) -> Figure:
    """Draw an `ErrorMap`."""
    cells = picture.values.shape[0]
    height = min(max(cells * _CELL, _LOWEST_ROW), _TALLEST)
    figure, axes = style.canvas(
        picture, height=height, titled=titled, left=0.62, right=0.2, top=0.42
    )
    axes.imshow(
        tint(picture.values),
        extent=(-0.5, picture.columns - 0.5, picture.rows - 0.5, -0.5),
        aspect="auto",
        interpolation="none",
    )
    _number(axes, picture)
    if picture.worst is not None:
        _point(axes, picture)
    _scale(figure, axes)
    return figure


def tint(errors: Floats) -> NDArray[np.float64]:
    """Relative errors as colours with opacity; those that are NaN are grey.

    Args:
        errors: any shape, not negative.

    Returns:
        RGBA between 0 and 1, of shape ``(*errors.shape, 4)``.
    """
    with np.errstate(divide="ignore"):
        decades = np.log10(np.where(np.isnan(errors), 1.0, errors))
    colours = paint(np.clip((decades - LOWEST) / (HIGHEST - LOWEST), 0.0, 1.0))
    colours[np.isnan(errors)] = _UNSEEN
    return colours


def _number(axes: Axes, picture: ErrorMap) -> None:
    """Indices along the axes, as far as there is more than one."""
    whole = style.formatter(lambda at: f"{at:,.0f}")
    for axis, length in ((axes.xaxis, picture.columns), (axes.yaxis, picture.rows)):
        axis.set_major_locator(MaxNLocator(5, integer=True))
        axis.set_major_formatter(whole)
        if length == 1:
            axis.set_ticks([])
    if picture.rows > 1:
        style.quantity(axes, picture.vertical)
    if picture.columns > 1:
        axes.set_xlabel(
            picture.horizontal, color=LIGHT["soft"], loc="right", labelpad=1
        )


def _point(axes: Axes, picture: ErrorMap) -> None:
    assert picture.worst is not None
    row, column = picture.worst
    axes.plot(
        [column],
        [row],
        "o",
        markersize=13,
        markerfacecolor="none",
        markeredgecolor=LIGHT["ink"],
        markeredgewidth=1.6,
        clip_on=False,
    )
    left = column > 0.55 * picture.columns
    axes.annotate(
        picture.label,
        (column, row),
        xytext=(-12 if left else 12, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        va="center",
        color=LIGHT["ink"],
        weight="bold",
    )


def _scale(figure: Figure, axes: Axes) -> None:
    """The colours, above the upper right corner."""
    box = axes.get_position()
    width, height = (float(size) for size in figure.get_size_inches())
    left = box.x1 - 2.06 / width
    bar = figure.add_axes((left, box.y1 + 0.15 / height, 1.05 / width, 0.11 / height))
    errors = np.logspace(LOWEST, HIGHEST, 64)[None, :]
    bar.imshow(tint(errors), aspect="auto", interpolation="none")
    bar.set_axis_off()
    ends = (
        (f"1e{LOWEST}", 0, "right", -5),
        ("1 or more", 1, "left", 5),
    )
    for text, at, side, shift in ends:
        bar.annotate(
            text,
            (at, 0.5),
            xycoords="axes fraction",
            xytext=(shift, 0),
            textcoords="offset points",
            ha=side,
            va="center",
            color=LIGHT["soft"],
        )
