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
    """Diagnose a stored run again, and write its report again.

    With --json alone, nothing is written.
    """
    if as_json and not open_page:
        _print_findings(run)
        return
    from nndiag import session

    outcome = session.publish(run, dpi=dpi)
    deliver(outcome, as_json=as_json, open_page=open_page)


def _print_findings(path: Path) -> None:
    from nndiag import render, rules, store

    run = store.read(path)
    print(render.findings_json(run, rules.diagnose(run)))
