# pyright: reportUnknownMemberType=false
# Matplotlib's stubs leave some of its arguments without a type.
"""How the values of each layer are spread: a ridge per layer."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nndiag.records import Floats
from nndiag.render import theme
from nndiag.render.figures import style
from nndiag.render.theme import LIGHT
from nndiag.report.picture import Distribution, Histogram

_TALLEST = 0.86
"""Height of the tallest bin, as a share of its row."""


def draw_distribution(distribution: Distribution, *, titled: bool) -> Figure:
    """Draw a `Distribution`."""
    names = [row.label for row in distribution.rows]
    rows = len(names)
    figure, axes = style.canvas(
        distribution,
        height=1.25 * style.row_height(rows),
        titled=titled,
        left=style.row_margin(names),
        right=0.3,
    )
    for place, row in enumerate(distribution.rows):
        _ridge(axes, row, place + 0.42, theme.depth(place / max(rows - 1, 1)))
    low = min(float(row.edges[0]) for row in distribution.rows)
    high = max(float(row.edges[-1]) for row in distribution.rows)
    axes.set_xlim(low - 0.02 * (high - low), high + 0.02 * (high - low))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(style.formatter(lambda value: f"{value:g}"))
    style.row_labels(axes, names, [""] * rows)
    entries = [("—", f"step {distribution.first_step:,}", "soft")]
    if distribution.last_step != distribution.first_step:
        entries.append(("■", f"step {distribution.last_step:,}", theme.depth(0.5)))
    style.key(axes, entries)
    axes.set_xlabel("activation", color=LIGHT["soft"], loc="right", labelpad=1)
    return figure


def _ridge(axes: Axes, row: Histogram, base: float, colour: str) -> None:
    tallest = max(float(row.first.max()), float(row.last.max()), 1e-12)

    def heights(shares: Floats) -> Floats:
        # rows count downwards, ridges rise upwards
        return base - _TALLEST * shares / tallest

    axes.axhline(base, color=LIGHT["rule"], linewidth=0.8, zorder=1)
    if row.last.any():
        axes.stairs(
            heights(row.last),
            row.edges,
            baseline=base,
            fill=True,
            color=LIGHT[colour],
            alpha=0.85,
            linewidth=0,
            zorder=2,
        )
    axes.stairs(
        heights(row.first),
        row.edges,
        baseline=base,
        color=LIGHT["soft"],
        linewidth=1.0,
        zorder=3,
    )
