# pyright: reportUnknownMemberType=false
# Matplotlib's stubs leave some of its arguments without a type.
"""The Taylor test: remainders over steps between lines of slope 1 and slope 2."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nndiag.render import theme
from nndiag.render.figures import style
from nndiag.render.theme import LIGHT
from nndiag.report.picture import Remainders

_HEIGHT = 2.6


def draw_remainders(picture: Remainders, *, titled: bool) -> Figure:
    """Draw `Remainders`, with the lines of both slopes through the largest step."""
    figure, axes = style.canvas(picture, height=_HEIGHT, titled=titled)
    style.grid(axes)
    steps, values = picture.steps, picture.values
    style.decades(axes, float(steps.min()), float(steps.max()), horizontal=True)
    style.decades(axes, float(values.min()), float(values.max()))
    first = int(steps.argmax())
    for slope in (1, 2):
        _guide(axes, float(steps[first]), float(values[first]), slope)
    axes.plot(
        steps,
        values,
        color=LIGHT[theme.depth(0.5)],
        marker="o",
        markersize=4.5,
        linewidth=1.5,
        zorder=3,
    )
    axes.set_xlabel("step h", color=LIGHT["soft"], loc="right", labelpad=1)
    style.quantity(axes, "remainder")
    return figure


def _guide(axes: Axes, step: float, value: float, slope: int) -> None:
    """A line of some slope through a point, named where it leaves the axes."""
    low, high = axes.get_xlim()
    axes.plot(
        [low, high],
        [value * (at / step) ** slope for at in (low, high)],
        color=LIGHT["before"],
        linewidth=1.1,
        dashes=(4, 3),
        zorder=1,
        scalex=False,
        scaley=False,
    )
    bottom = step * (axes.get_ylim()[0] / value) ** (1 / slope)
    leaves = max(low, bottom)
    at = leaves * (step / leaves) ** (0.15 if slope == 2 else 0.35)
    steep = slope == 2
    axes.annotate(
        f"slope {slope}",
        (at, value * (at / step) ** slope),
        # on the outer side of its line, where no remainder comes to lie
        xytext=(7, -3) if steep else (-7, 3),
        textcoords="offset points",
        ha="left" if steep else "right",
        va="top" if steep else "bottom",
        color=LIGHT["soft"],
    )
