"""One home for colours: by verdict, by depth, for light and for dark.

The hues are told apart by people with any of the common colour deficiencies (after
Okabe and Ito, 2008), and by lightness where they stand side by side. No colour is the
only bearer of a meaning: a word or a place always says the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from nndiag.report.blocks import Level

SHADES = 12
"""Steps of the ramp that tells shallow layers from deep ones."""


def _ramp(anchors: Sequence[str], name: str) -> dict[str, str]:
    """`SHADES` colours along the anchors, evenly spaced in RGB."""
    points = [tuple(int(a[i : i + 2], 16) for i in (1, 3, 5)) for a in anchors]
    colours: dict[str, str] = {}
    for shade in range(SHADES):
        place = shade / (SHADES - 1) * (len(points) - 1)
        index = min(int(place), len(points) - 2)
        share = place - index
        pairs = zip(points[index], points[index + 1], strict=True)
        mixed = (round(low + share * (high - low)) for low, high in pairs)
        colours[f"{name}-{shade}"] = "#" + "".join(f"{part:02x}" for part in mixed)
    return colours


LIGHT: dict[str, str] = {
    "paper": "#ffffff",
    "panel": "#f6f7f9",
    "ink": "#18212d",
    "soft": "#5a6675",
    "rule": "#dfe3e8",
    "grid": "#e9ecf0",
    "band": "#d9f0e8",
    "before": "#98a3b0",
    "error": "#b83c00",
    "warning": "#8a5f00",
    "info": "#1c5fa6",
    "healthy": "#00705a",
    **_ramp(("#33229b", "#b3317d", "#ee8a2a"), "depth"),
}
"""Colours on white; every value is distinct, so that a picture drawn with them can be
recoloured by name."""

DARK: dict[str, str] = {
    "paper": "#12161c",
    "panel": "#1a2028",
    "ink": "#e8ecf1",
    "soft": "#9ba7b5",
    "rule": "#2d3641",
    "grid": "#262e38",
    "band": "#16362e",
    "before": "#76828f",
    "error": "#ff8a55",
    "warning": "#e9b44c",
    "info": "#74b3f5",
    "healthy": "#45cfa8",
    **_ramp(("#8e86ff", "#f073b0", "#ffc46b"), "depth"),
}
"""The same names on near-black."""

HEAT = ((0.0, "#f2b134", 0.10), (0.5, "#ee7d2b", 0.60), (1.0, "#c2255c", 1.0))
"""Share, colour and opacity of heat maps: what is transparent shows the page, so that
one picture suits light and dark."""

TERMINAL: dict[Level, str] = {
    "error": "red",
    "warning": "yellow",
    "info": "blue",
    "healthy": "green",
}
"""The terminal's own sixteen colours: its user has chosen them to be legible."""

WORDS: dict[Level, str] = {
    "error": "ERROR",
    "warning": "WARNING",
    "info": "INFO",
    "healthy": "HEALTHY",
}


def depth(position: float) -> str:
    """Name of the colour of a layer at a position from input (0) to output (1).

    Example:
        >>> depth(0.0), depth(1.0)
        ('depth-0', 'depth-11')
    """
    return f"depth-{round(position * (SHADES - 1))}"
