# pyright: reportUnknownMemberType=false
# Matplotlib's stubs leave some of its arguments without a type.
"""What all pictures share: canvas, type, axes and labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from textwrap import wrap
from typing import Any

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from nndiag.render.theme import LIGHT
from nndiag.report import units
from nndiag.report.picture import Picture

WIDTH = 5.4
"""Width of every picture in inches: its type is legible on a phone and on a slide."""

TEXT = 11.0
TITLE = 15.0
"""Sizes of type in points."""

ROW = 0.32
"""Height of one layer's row in inches."""

_HINT = 9.5
_HINT_COLUMNS = 88
_HINT_LINE = 0.17
_HEADER = 0.62
_LABEL = 15


@cache
def settings() -> dict[Any, Any]:
    """Matplotlib settings of every picture; names are never read as formulas."""
    wanted = ("Inter", "Helvetica Neue", "Arial", "Liberation Sans", "DejaVu Sans")
    present = set(font_manager.get_font_names())
    return {
        "font.family": [name for name in wanted if name in present],
        "font.size": TEXT,
        "text.parse_math": False,
        "text.color": LIGHT["ink"],
        "axes.unicode_minus": False,
        "svg.fonttype": "none",
        "path.simplify": True,
        "path.simplify_threshold": 0.3,
    }


def canvas(
    picture: Picture,
    *,
    height: float,
    titled: bool,
    left: float = 0.66,
    right: float = 0.2,
    top: float = 0.34,
    bottom: float = 0.52,
) -> tuple[Figure, Axes]:
    """A figure with one pair of axes.

    Args:
        picture: gives the title.
        height: of the axes in inches.
        titled: whether title and hint stand above; a page says them itself.
        left: margin in inches; so are `right`, `top` and `bottom`.
        right: see `left`.
        top: see `left`.
        bottom: see `left`.
    """
    hint = wrap(picture.hint, _HINT_COLUMNS)
    header = _HEADER + _HINT_LINE * (len(hint) - 1) if titled else 0.0
    full = bottom + height + top + header
    figure = Figure(figsize=(WIDTH, full), facecolor=LIGHT["paper"])
    axes = figure.add_axes(
        (left / WIDTH, bottom / full, (WIDTH - left - right) / WIDTH, height / full)
    )
    axes.set_facecolor("none")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LIGHT["rule"])
    axes.tick_params(length=0, colors=LIGHT["soft"])
    if titled:
        write(figure, 0.14, full - 0.32, picture.title, size=TITLE, weight="bold")
        for line, text in enumerate(hint):
            below = full - 0.55 - _HINT_LINE * line
            write(figure, 0.14, below, text, colour="soft", size=_HINT)
    return figure, axes


def write(
    figure: Figure,
    left: float,
    bottom: float,
    text: str,
    *,
    colour: str = "ink",
    size: float = TEXT,
    **how: Any,
) -> None:
    """Text at a place of the figure, in inches from its lower left corner."""
    width, height = figure.get_size_inches()
    place = (left / float(width), bottom / float(height))
    figure.text(*place, text, color=LIGHT[colour], fontsize=size, **how)


def formatter(write: Callable[[float], str]) -> FuncFormatter:
    """How an axis writes its numbers."""

    def apply(value: float, position: int | None) -> str:
        return write(value)

    return FuncFormatter(apply)


def step_axis(axes: Axes, first: int, last: int) -> None:
    """Put steps on the horizontal axis."""
    axes.set_xlim(first, last if last > first else first + 1)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(formatter(lambda step: f"{step:,.0f}"))
    axes.set_xlabel("step", color=LIGHT["soft"], loc="right", labelpad=1)


def decades(axes: Axes, low: float, high: float, *, horizontal: bool = False) -> None:
    """A logarithmic axis from `low` to `high`, at least one decade and a half wide."""
    # a dot at the end of the axis needs its radius, a narrow range some company
    ratio = high / low
    margin = max((31.6 / ratio) ** 0.5, ratio**0.04, 1.5)
    axis = axes.xaxis if horizontal else axes.yaxis
    if horizontal:
        axes.set_xscale("log")
        axes.set_xlim(low / margin, high * margin)
    else:
        axes.set_yscale("log")
        axes.set_ylim(low / margin, high * margin)
    axis.set_major_locator(LogLocator(numticks=7))
    axis.set_major_formatter(formatter(units.power))
    axis.set_minor_locator(NullLocator())


def grid(axes: Axes, *, horizontal: bool = True) -> None:
    """Quiet lines behind the data, across the axis that carries the quantity."""
    axes.grid(axis="y" if horizontal else "x", color=LIGHT["grid"], linewidth=0.9)
    axes.set_axisbelow(True)


def quantity(axes: Axes, text: str) -> None:
    """Name the vertical axis where its numbers end, so that nobody turns the head."""
    axes.annotate(
        text,
        (0, 1),
        xycoords="axes fraction",
        xytext=(-36, 9),
        textcoords="offset points",
        color=LIGHT["soft"],
    )


def key(axes: Axes, entries: Sequence[tuple[str, str, str]]) -> None:
    """Name what is drawn above the axes, each as ``(mark, text, colour)``."""
    shift = 0.0
    for mark, text, colour in reversed(entries):
        label = f"{mark} {text}"
        axes.annotate(
            label,
            (1, 1),
            xycoords="axes fraction",
            xytext=(-shift, 9),
            textcoords="offset points",
            ha="right",
            color=LIGHT[colour],
            weight="bold",
        )
        shift += 0.58 * TEXT * len(label) + 10


def clip(name: str, length: int = _LABEL) -> str:
    """A long name without its middle, whose end tells most.

    Example:
        >>> clip("encoder/block_11/attention/query")
        'enc…ntion/query'
    """
    if len(name) <= length:
        return name
    return f"{name[:3]}…{name[-(length - 4) :]}"


def shorten(names: Sequence[str]) -> list[str]:
    """Names without the parts of their paths that all of them share, clipped.

    Example:
        >>> shorten(["encoder/block_1/weight", "encoder/block_2/weight"])
        ['block_1', 'block_2']
        >>> shorten(["hidden/weight", "weight"]), shorten(["one/name"])
        (['hidden/weight', 'weight'], ['one/name'])
    """
    paths = [name.split("/") for name in names]
    if len(set(names)) > 1:
        while min(map(len, paths)) > 1 and len({path[0] for path in paths}) == 1:
            paths = [path[1:] for path in paths]
        while min(map(len, paths)) > 1 and len({path[-1] for path in paths}) == 1:
            paths = [path[:-1] for path in paths]
    return [clip("/".join(path)) for path in paths]


def row_height(rows: int) -> float:
    """Height of the axes for that many rows: many rows share what there is."""
    return min(rows * ROW, 6.0) if rows > 3 else 3 * ROW + 0.1


def row_margin(names: Sequence[str]) -> float:
    """Left margin in inches that the names of the rows need."""
    return 0.24 + 0.088 * max(map(len, shorten(names)))


def row_labels(axes: Axes, names: Sequence[str], texts: Sequence[str]) -> None:
    """Names of the rows at the left, what is written of each at the right.

    Where rows are too dense for type, every second (third …) is named.
    """
    every = max(1, -(-len(names) * 17 // int(72 * row_height(len(names)))))
    for row, (name, text) in enumerate(zip(shorten(names), texts, strict=True)):
        if row % every:
            continue
        common: dict[str, Any] = {
            "xycoords": axes.get_yaxis_transform(),
            "textcoords": "offset points",
            "va": "center",
        }
        axes.annotate(
            name,
            (0, row),
            xytext=(-7, 0),
            ha="right",
            color=LIGHT["ink"],
            **common,
        )
        axes.annotate(text, (1, row), xytext=(7, 0), color=LIGHT["soft"], **common)
    axes.set_yticks([])
    axes.set_ylim(len(names) - 0.5, -0.5)
