"""``nndiag report``: what a stored run says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nndiag.cli.options import AsJson, Dpi, OpenPage
from nndiag.cli.outcome import deliver


def report(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="The directory of a run."),
    ],
    dpi: Dpi = 150,
    open_page: OpenPage = False,
    as_json: AsJson = False,
) -> None:
    """Diagnose a stored run again, and write its report again."""
    from nndiag import session

    outcome = session.publish(run, dpi=dpi)
    deliver(outcome, as_json=as_json, open_page=open_page)
