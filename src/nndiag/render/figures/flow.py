# pyright: reportUnknownMemberType=false
# Matplotlib's stubs leave some of its arguments without a type.
"""The way of a value through a program: a station per row, from first to last."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nndiag.render.figures import style
from nndiag.render.theme import LIGHT
from nndiag.report.picture import Flow, Node

_ROW = 0.6
"""Height of a station in inches: its name, and its place in small type below."""

_LONGEST = 50
"""Characters of a place: that many fit beside the stations."""

_SMALL = 11.0
"""Size of a place's type in points."""

_LARGE = 12.5
"""Size of a name's type in points."""

_COLOURS = {"NaN": "error", "Inf": "warning"}


def draw_flow(flow: Flow, *, titled: bool) -> Figure:
    """Draw a `Flow`."""
    rows = len(flow.nodes)
    figure, axes = style.canvas(
        flow,
        height=rows * _ROW,
        titled=titled,
        left=0.74,
        right=0.1,
        top=0.04,
        bottom=0.04,
    )
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(rows - 0.5, -0.5)
    for row, node in enumerate(flow.nodes[:-1]):
        colour = LIGHT[_COLOURS.get(node.state, "before")]
        axes.annotate(
            "",
            (0.0, row + 1),
            xytext=(0.0, row),
            arrowprops={
                "arrowstyle": "-|>,head_width=0.28,head_length=0.5",
                "color": colour,
                "linewidth": 1.8,
                "shrinkA": 8,
                "shrinkB": 8,
            },
            annotation_clip=False,
        )
    for row, node in enumerate(flow.nodes):
        _station(axes, row, node)
    return figure


def _station(axes: Axes, row: int, node: Node) -> None:
    colour = LIGHT[_COLOURS.get(node.state, "before")]
    axes.plot(
        [0.0],
        [row],
        "o",
        markersize=11,
        markerfacecolor=colour if node.state else LIGHT["paper"],
        markeredgecolor=colour,
        markeredgewidth=1.8,
        clip_on=False,
    )
    common: dict[str, Any] = {
        "xycoords": "data",
        "textcoords": "offset points",
        "annotation_clip": False,
    }
    axes.annotate(
        node.state,
        (0.0, row),
        xytext=(-14, 0),
        ha="right",
        va="center",
        color=colour,
        fontsize=_LARGE,
        weight="bold",
        **common,
    )
    axes.annotate(
        style.clip(node.name, _LONGEST),
        (0.0, row),
        xytext=(16, 8 if node.place else 0),
        va="center",
        color=LIGHT["ink"],
        fontsize=_LARGE,
        weight="bold" if node.state else "normal",
        **common,
    )
    if node.place:
        axes.annotate(
            _fit(node.place),
            (0.0, row),
            xytext=(16, -9),
            va="center",
            color=LIGHT["soft"],
            fontsize=_SMALL,
            **common,
        )


def _fit(place: str) -> str:
    """A place that fits: the folders of its file go first, then the end."""
    file, comma, rest = place.partition(", ")
    room = max(_LONGEST - len(comma + rest), _LONGEST // 3)
    if len(file) > room:
        file = f"…{file[-(room - 1) :]}"
    whole = file + comma + rest
    return whole if len(whole) <= _LONGEST else f"{whole[: _LONGEST - 1]}…"
