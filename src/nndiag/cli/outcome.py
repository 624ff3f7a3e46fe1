"""What a command says while a run trains, and when it has been diagnosed."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from nndiag.session import Outcome

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells count: 128 and the number of the signal."""


@contextlib.contextmanager
def stage(*, as_json: bool, quiet: bool) -> Iterator[Console | None]:
    """Where a run shows itself, `None` for nowhere.

    Where standard output is for a machine, whatever the target prints meanwhile goes
    to standard error.
    """
    from rich.console import Console

    with contextlib.ExitStack() as stack:
        if as_json or quiet:
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield None if quiet else Console()


def deliver(
    outcome: Outcome, *, as_json: bool, open_page: bool, quiet: bool = False
) -> None:
    """Say what was found: as cards, as JSON, or only where the page is."""
    if as_json:
        from nndiag.render import findings_json

        print(findings_json(outcome.run, outcome.findings))
    elif quiet:
        print(outcome.page)
    else:
        _show(outcome)
    if open_page:
        _open(outcome.page)


def _show(outcome: Outcome) -> None:
    from rich.console import Console

    from nndiag import render, report

    render.show(
        Console(),
        report.build(outcome.run, outcome.findings),
        page=outcome.page,
        next_command=_next_command(outcome),
    )


def _next_command(outcome: Outcome) -> str:
    if outcome.findings:
        return f"nndiag explain {outcome.findings[0].code}"
    return f"nndiag report {shlex.quote(str(outcome.path))} --open"


def _open(page: Path) -> None:
    import webbrowser

    if not webbrowser.open(page.resolve().as_uri()):
        print(f"nndiag: found no browser; the report is {page}", file=sys.stderr)
