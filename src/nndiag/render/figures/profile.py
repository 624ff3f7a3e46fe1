# pyright: reportUnknownMemberType=false
# Matplotlib's stubs leave some of its arguments without a type.
"""One quantity over depth: a row per layer, first step against last."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from nndiag.render import theme
from nndiag.render.figures import style
from nndiag.render.theme import LIGHT
from nndiag.report.picture import Profile
from nndiag.report.units import number


def draw_profile(profile: Profile, *, titled: bool) -> Figure:
    """Draw a `Profile`."""
    rows = len(profile.rows)
    figure, axes = style.canvas(
        profile,
        height=style.row_height(rows),
        titled=titled,
        left=style.row_margin(profile.rows),
        right=0.8,
    )
    both = np.concatenate([profile.first, profile.last])
    known = both[np.isfinite(both) & (both > 0)]
    style.decades(axes, float(known.min()), float(known.max()), horizontal=True)
    style.grid(axes, horizontal=False)
    places = np.arange(rows)
    size = min(1.0, 72 * style.row_height(rows) / rows / 10)  # dots do not touch
    axes.plot(profile.first, places, color=LIGHT["before"], linewidth=1.4, zorder=2)
    axes.plot(
        profile.first,
        places,
        "o",
        markersize=6.5 * size,
        markerfacecolor=LIGHT["paper"],
        markeredgecolor=LIGHT["before"],
        markeredgewidth=1.6,
        zorder=3,
    )
    axes.plot(profile.last, places, color=LIGHT["soft"], linewidth=1.4, zorder=4)
    for place in places:
        shade = theme.depth(place / max(rows - 1, 1))
        axes.plot(
            profile.last[place],
            place,
            "o",
            markersize=8 * size,
            color=LIGHT[shade],
            zorder=5,
        )
    style.row_labels(axes, profile.rows, [number(value) for value in profile.last])
    style.key(
        axes,
        [
            ("○", f"step {profile.first_step:,}", "before"),
            ("●", f"step {profile.last_step:,}", "ink"),
        ],
    )
    axes.set_xlabel(profile.quantity, color=LIGHT["soft"], loc="right", labelpad=1)
    return figure
