# pyright: reportUnknownMemberType=false
# Matplotlib's stubs leave some of its arguments without a type.
"""A share by layer and step."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nndiag.records import Floats
from nndiag.render.figures import style
from nndiag.render.theme import HEAT, LIGHT
from nndiag.report.picture import Heatmap
from nndiag.report.units import percent

_DENSE = 40


def draw_heatmap(heatmap: Heatmap, *, titled: bool) -> Figure:
    """Draw a `Heatmap`."""
    rows = len(heatmap.rows)
    figure, axes = style.canvas(
        heatmap,
        height=style.row_height(rows),
        titled=titled,
        left=style.row_margin(heatmap.rows),
        right=0.8,
    )
    steps = heatmap.steps
    first, last = int(steps[0]), int(steps[-1])
    beyond = last + max((last - first) // max(len(steps) - 1, 1), 1)
    axes.imshow(
        paint(heatmap.values),
        extent=(first, beyond, rows - 0.5, -0.5),
        aspect="auto",
        interpolation="none",
    )
    # between dense rows a border would hide more than it parts
    for border in range(1, rows if rows < _DENSE else 0):
        axes.axhline(border - 0.5, color=LIGHT["paper"], linewidth=2)
    style.step_axis(axes, first, beyond)
    style.row_labels(axes, heatmap.rows, [percent(share) for share in heatmap.last])
    _scale(figure, axes)
    return figure


def paint(shares: Floats) -> NDArray[np.float64]:
    """Shares as colours with opacity; what was not measured is transparent.

    Args:
        shares: any shape; NaN where not measured.

    Returns:
        RGBA between 0 and 1, of shape ``(*shares.shape, 4)``.
    """
    stops = [share for share, _, _ in HEAT]
    known = np.nan_to_num(shares, nan=0.0)
    channels = [
        np.interp(known, stops, [to_rgb(colour)[channel] for _, colour, _ in HEAT])
        for channel in range(3)
    ]
    opacity = np.interp(known, stops, [opaque for _, _, opaque in HEAT])
    return np.stack([*channels, np.where(np.isnan(shares), 0.0, opacity)], axis=-1)


def _scale(figure: Figure, axes: Axes) -> None:
    """The colours from 0 to 100 %, above the upper right corner."""
    box = axes.get_position()
    width, height = (float(size) for size in figure.get_size_inches())
    bar = figure.add_axes(
        (
            box.x1 - 1.65 / width,
            box.y1 + 0.13 / height,
            1.05 / width,
            0.11 / height,
        )
    )
    bar.imshow(
        paint(np.linspace(0, 1, 64)[None, :]), aspect="auto", interpolation="none"
    )
    bar.set_axis_off()
    for text, at, side, shift in (("0 %", 0, "right", -5), ("100 %", 1, "left", 5)):
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
