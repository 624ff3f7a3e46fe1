"""A report as a page, as pictures, on a terminal, as JSON.

Names are imported when they are asked for: Matplotlib and Jinja cost half a second,
and the terminal needs neither.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nndiag.render.autopsy import print_autopsy as print_autopsy
    from nndiag.render.console import show as show
    from nndiag.render.figures import save_figures as save_figures
    from nndiag.render.gradcheck import gradcheck_text as gradcheck_text
    from nndiag.render.gradcheck import print_gradcheck as print_gradcheck
    from nndiag.render.json import autopsy_json as autopsy_json
    from nndiag.render.json import findings_json as findings_json
    from nndiag.render.json import gradcheck_json as gradcheck_json
    from nndiag.render.live import LiveView as LiveView
    from nndiag.render.notebook import fragment as fragment
    from nndiag.render.page import html as html

_HOMES = {
    "LiveView": "live",
    "autopsy_json": "json",
    "findings_json": "json",
    "fragment": "notebook",
    "gradcheck_json": "json",
    "gradcheck_text": "gradcheck",
    "html": "page",
    "print_autopsy": "autopsy",
    "print_gradcheck": "gradcheck",
    "save_figures": "figures",
    "show": "console",
}

__all__ = [
    "LiveView",
    "autopsy_json",
    "findings_json",
    "fragment",
    "gradcheck_json",
    "gradcheck_text",
    "html",
    "print_autopsy",
    "print_gradcheck",
    "save_figures",
    "show",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
