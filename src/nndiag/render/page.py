"""A report as one self-contained HTML page that fetches nothing and runs no script."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from nndiag.render import theme
from nndiag.render.figures import inline
from nndiag.report.blocks import Report
from nndiag.report.picture import Picture

_BACKTICKS = re.compile("`([^`]+)`")


def html(report: Report) -> str:
    """The page: verdict first, each finding beside its picture, then all the rest.

    Every text of the run is escaped, pictures are inline SVG with alternative text, and
    a content policy in the head forbids scripts and requests. Colours follow the
    reader's preference for light or dark; paper is always light.

    Args:
        report: from `nndiag.report.build`.
    """
    return fill("report.html", report=report, prefix="")


def fill(template: str, *, prefix: str, **values: object) -> str:
    """A template with its values, and with what all templates need.

    Args:
        template: its file name.
        prefix: of all ids, so that they are unique where it comes to stand.
        values: by name.
    """

    def draw(picture: Picture) -> Markup:
        # Matplotlib has escaped the names in it
        return Markup(inline(replace(picture, name=prefix + picture.name)))

    return (
        _environment()
        .get_template(template)
        .render(
            values,
            prefix=prefix,
            light=theme.LIGHT,
            dark=theme.DARK,
            words=theme.WORDS,
            inline=draw,
            code=_code,
        )
    )


def _code(text: str) -> Markup:
    """Escaped, with what stands between backticks as code."""
    return Markup(_BACKTICKS.sub(r"<code>\1</code>", str(escape(text))))


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("nndiag.render"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
