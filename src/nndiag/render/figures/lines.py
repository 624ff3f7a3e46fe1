# pyright: reportUnknownMemberType=false
# Matplotlib's stubs leave some of its arguments without a type.
"""Lines over steps, labelled where they end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nndiag.render import theme
from nndiag.render.figures import style
from nndiag.render.theme import LIGHT
from nndiag.report.picture import Area, Line, Series
from nndiag.report.units import power

_HEIGHT = 2.6
_GAP = 15.5
"""Distance between two labels in points."""


def draw_series(series: Series, *, titled: bool) -> Figure:
    """Draw a `Series`."""
    named = [line for line in series.lines if line.style != "minor" and len(line.steps)]
    labels = style.shorten([line.label for line in named]) if named else []
    width = max(map(len, labels), default=0)
    figure, axes = style.canvas(
        series,
        height=_HEIGHT,
        titled=titled,
        right=0.32 + 0.088 * width if len(series.lines) > 1 else 0.2,
    )
    style.grid(axes)
    _limits(axes, series)
    if series.band is not None:
        _band(axes, series)
    for area in series.areas:
        _area(axes, area)
    for line in series.lines:
        _line(axes, line)
    if len(series.lines) > 1:
        _name(axes, list(zip(named, labels, strict=True)))
    if len(series.broken):
        _broken(axes, series)
    style.quantity(axes, series.quantity)
    return figure


def _limits(axes: Axes, series: Series) -> None:
    drawn = (*series.lines, *series.areas)
    steps = np.concatenate([*(part.steps for part in drawn), series.broken])
    if len(steps):
        style.step_axis(axes, int(steps.min()), int(steps.max()))
    bounds = [bound for area in series.areas for bound in (area.low, area.high)]
    values = np.concatenate([*(line.values for line in series.lines), *bounds])
    if not len(values):
        return
    low, high = float(values.min()), float(values.max())
    if series.logarithmic:
        if series.band is not None:
            # the band is what the lines are held against: it must be in sight
            low, high = min(low, series.band[0]), max(high, series.band[1])
        style.decades(axes, low, high)
    else:
        if series.floor is not None:
            low = min(low, series.floor)
        margin = 0.06 * (high - low) or 0.5 * abs(high) or 1.0
        axes.set_ylim(low if low == series.floor else low - margin, high + margin)


def _area(axes: Axes, area: Area) -> None:
    colour = LIGHT[theme.depth(0.5)]
    if len(area.steps) == 1:
        # an area without width: a bar
        axes.plot(
            [area.steps[0]] * 2,
            [area.low[0], area.high[0]],
            color=colour,
            alpha=0.16,
            linewidth=8,
            zorder=1,
        )
        return
    axes.fill_between(
        area.steps, area.low, area.high, color=colour, alpha=0.16, linewidth=0, zorder=1
    )


def _line(axes: Axes, line: Line) -> None:
    minor = line.style == "minor"
    axes.plot(
        line.steps,
        line.values,
        color=LIGHT[theme.depth(line.depth)],
        linewidth=0.7 if minor else 1.5,
        alpha=0.45 if minor else 1.0,
        marker="o" if line.style == "marked" or len(line.steps) == 1 else "",
        markersize=4.5,
        solid_joinstyle="round",
        zorder=2 if minor else 3,
    )


def _band(axes: Axes, series: Series) -> None:
    assert series.band is not None
    axes.axhspan(*series.band, color=LIGHT["band"], linewidth=0, zorder=0)
    if series.guide is not None:
        axes.axhline(
            series.guide, color=LIGHT["healthy"], linewidth=1, dashes=(4, 3), zorder=1
        )
    low, high = (power(bound) for bound in series.band)
    style.key(axes, [("■", f"healthy: {low} to {high}", "healthy")])


def _broken(axes: Axes, series: Series) -> None:
    first, last = int(series.broken[0]), int(series.broken[-1])
    left, right = axes.get_xlim()
    axes.axvspan(first, last, color=LIGHT["error"], alpha=0.1, linewidth=0, zorder=0)
    axes.axvline(first, color=LIGHT["error"], linewidth=1.2, zorder=1)
    late = first > left + 0.5 * (right - left)
    axes.annotate(
        f"NaN or Inf from step {first:,}",
        (first, 0.95),
        xycoords=axes.get_xaxis_transform(),
        xytext=(-6 if late else 6, 0),
        textcoords="offset points",
        ha="right" if late else "left",
        va="top",
        color=LIGHT["error"],
        weight="bold",
    )


def _name(axes: Axes, named: Sequence[tuple[Line, str]]) -> None:
    """Label each line at its end; labels keep their distance and their order."""
    height = 72 * _HEIGHT
    room = int(height // _GAP) + 1
    kept = named[:: max(1, -(-len(named) // room))]
    # display coordinates know the scale of the axis, whatever it is
    bottom, top = axes.transAxes.transform([(0, 0), (0, 1)])[:, 1]
    last = [(line.steps[-1], line.values[-1]) for line, _ in kept]
    ends = [axes.transData.transform(place) for place in last]
    wanted = [float((end[1] - bottom) / (top - bottom)) for end in ends]
    # lines that end together are named in forward order, from the top
    step = _GAP / height / 4
    coarse = [round(place / step) * step for place in wanted]
    placed = spread(coarse[::-1], _GAP / height)[::-1]
    for (line, label), at, place in zip(kept, wanted, placed, strict=True):
        colour = LIGHT[theme.depth(line.depth)]
        axes.plot(
            [1.005, 1.035],
            [at, place],
            transform=axes.transAxes,
            # grey: in the line's own colour it would read as a fall of the line
            color=LIGHT["before"],
            linewidth=0.5,
            clip_on=False,
        )
        axes.annotate(
            label,
            (1.035, place),
            xycoords="axes fraction",
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            color=colour,
        )


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Places between 0 and 1 moved apart to at least `gap`, in the same order.

    Example:
        >>> spread([0.5, 0.5, 0.9], 0.2)
        [0.5, 0.7, 0.9]
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved = [0.0] * len(places)
    floor = -np.inf
    for index in order:
        moved[index] = floor = max(places[index], float(floor))
        floor += gap
    ceiling = max(1.0, gap * (len(places) - 1))
    for index in reversed(order):
        moved[index] = min(moved[index], ceiling)
        ceiling = moved[index] - gap
    return [round(place, 6) for place in moved]
