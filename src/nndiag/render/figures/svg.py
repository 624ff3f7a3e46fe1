# pyright: reportUnknownMemberType=false
# Matplotlib's stubs leave some of its arguments without a type.
"""A figure as inline SVG that takes its colours and its type from the page."""

from __future__ import annotations

import io
import re

from matplotlib.figure import Figure

from nndiag.render.theme import LIGHT

_COLOUR = re.compile("|".join(re.escape(colour) for colour in LIGHT.values()))
_NAMES = {colour: name for name, colour in LIGHT.items()}
_DECIMALS = re.compile(r"(\d+\.\d\d)\d+")
_STYLE = re.compile(r'style="[^"]*"')
_FONT = re.compile(r"(font: (?:bold |\d{3} )*[\d.]+px |font-family: )[^;\"]*")
"""Either way that Matplotlib's versions name a font."""
_PATH = re.compile(r' d="[^"]*"|points="[^"]*"')


def to_svg(figure: Figure, name: str, alternative_id: str) -> str:
    """The figure as one ``<svg>`` element for a page.

    Args:
        figure: drawn in the colours of `nndiag.render.theme.LIGHT`.
        name: prefix of all ids inside, unique on the page.
        alternative_id: id of the element with the alternative text.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\n?", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'xlink:href="#', f'href="#{name}-', svg)
    svg = svg.replace('xlink:href="data:', 'href="data:')
    svg = svg.replace("url(#", f"url(#{name}-")
    svg = _PATH.sub(lambda found: _DECIMALS.sub(r"\1", found[0]), svg)
    svg = _STYLE.sub(lambda found: _restyle(found[0]), svg)
    head = f'<svg role="img" aria-labelledby="{alternative_id}" '
    size = re.search(r'viewBox="[^"]*"', svg)
    assert size is not None
    body = svg[svg.index(">") + 1 :]
    return f'{head}{size[0]} xmlns="http://www.w3.org/2000/svg">{body}'


def _restyle(text: str) -> str:
    """One style attribute with the page's colours and type."""
    text = _COLOUR.sub(lambda found: f"var(--{_NAMES[found[0]]})", text)
    return _FONT.sub(r"\1var(--type)", text)
