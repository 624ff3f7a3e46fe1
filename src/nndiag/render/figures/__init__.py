# pyright: reportUnknownMemberType=false
# Matplotlib's stubs leave some of its arguments without a type.
"""Pictures: the blocks of a report as Matplotlib figures, never through pyplot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from nndiag.render.figures import style
from nndiag.render.figures.distribution import draw_distribution
from nndiag.render.figures.errormap import draw_error_map
from nndiag.render.figures.flow import draw_flow
from nndiag.render.figures.heatmap import draw_heatmap
from nndiag.render.figures.lines import draw_series
from nndiag.render.figures.profile import draw_profile
from nndiag.render.figures.remainders import draw_remainders
from nndiag.render.figures.svg import to_svg
from nndiag.report.blocks import Report
from nndiag.report.picture import (
    Distribution,
    ErrorMap,
    Flow,
    Heatmap,
    Picture,
    Profile,
    Remainders,
)


def draw(picture: Picture, *, titled: bool = True) -> Figure:
    """A picture as a figure, in light colours.

    Args:
        picture: from a report.
        titled: whether title and hint stand above the axes.
    """
    with matplotlib.rc_context(style.settings()):
        if isinstance(picture, Heatmap):
            return draw_heatmap(picture, titled=titled)
        if isinstance(picture, Profile):
            return draw_profile(picture, titled=titled)
        if isinstance(picture, Distribution):
            return draw_distribution(picture, titled=titled)
        if isinstance(picture, Flow):
            return draw_flow(picture, titled=titled)
        if isinstance(picture, ErrorMap):
            return draw_error_map(picture, titled=titled)
        if isinstance(picture, Remainders):
            return draw_remainders(picture, titled=titled)
        return draw_series(picture, titled=titled)


def inline(picture: Picture) -> str:
    """A picture as an ``<svg>`` element; ``NAME-text`` is the id of its alternative."""
    figure = draw(picture, titled=False)
    salted: dict[Any, Any] = style.settings() | {"svg.hashsalt": picture.name}
    with matplotlib.rc_context(salted):
        return to_svg(figure, picture.name, f"{picture.name}-text")


def save_figures(report: Report, directory: Path, *, dpi: int = 150) -> list[Path]:
    """Write every picture of a report as PNG, 5.4 inches wide.

    Args:
        report: from `nndiag.report.build`.
        directory: is created if it does not exist; files in it are replaced.
        dpi: dots per inch: 150 for screens, 300 for print.

    Returns:
        The files, named after the pictures, in the order of the report.

    Raises:
        OSError: the directory cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for picture in report.pictures():
        path = directory / f"{picture.name}.png"
        figure = draw(picture)
        with matplotlib.rc_context(style.settings()):
            figure.savefig(path, dpi=dpi, metadata={"Description": picture.alternative})
        paths.append(path)
    return paths
