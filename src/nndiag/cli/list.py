"""``nndiag list``: the stored runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nndiag.errors import RunError

if TYPE_CHECKING:
    from nndiag.store import RunSummary

DEFAULT = Path("reports")
"""Where nndiag run puts its runs."""


def list_runs(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder that holds them.")
    ] = DEFAULT,
) -> None:
    """List the runs in a folder, the last started first."""
    from nndiag import store

    if folder != DEFAULT and not folder.is_dir():
        raise RunError(f"there is no folder {folder}; nndiag list DIR looks in DIR")
    runs = store.list_runs(folder)
    if runs:
        _show(runs)
    else:
        print(f"There are no runs in {folder}. Next: nndiag run")


def _show(runs: tuple[RunSummary, ...]) -> None:
    import shlex

    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from nndiag.report.units import number, printable

    table = Table(
        box=box.SIMPLE_HEAD, header_style="bold", show_edge=False, padding=(0, 1, 0, 0)
    )
    table.add_column("Run", no_wrap=True)
    table.add_column("Started", no_wrap=True)
    table.add_column("Target", overflow="ellipsis", min_width=8)
    table.add_column("Status", no_wrap=True)
    table.add_column("Steps", no_wrap=True, justify="right")
    table.add_column("Loss", no_wrap=True, justify="right")
    for run in runs:
        words = (
            run.path.name,
            run.started[:16].replace("T", " "),
            run.target,
            run.status,
            f"{run.steps:,}",
            "–" if run.loss is None else number(run.loss),
        )
        table.add_row(*(Text(printable(word)) for word in words))
    console = Console()
    if not console.is_terminal:
        console.width = 200  # a pipe has no edge, and its reader wants whole names
    console.print(table)
    command = f"nndiag report {shlex.quote(str(runs[0].path))}"
    console.print(Text(f"Next: {printable(command)}"), soft_wrap=True)
