"""``nndiag explain``: the page of a finding."""

from __future__ import annotations

from typing import Annotated

import typer


def explain(
    code: Annotated[
        str,
        typer.Argument(metavar="CODE", help="Such as ND201, or vanishing_gradient."),
    ],
) -> None:
    """Explain a finding: what it measures, why it matters, what to do."""
    from rich.console import Console

    from nndiag import rules

    page = rules.explain(code)
    console = Console()
    if not console.is_terminal:
        print(page.rstrip())
        return
    from rich.markdown import Markdown

    console.print(Markdown(page), width=min(console.width, 100))
