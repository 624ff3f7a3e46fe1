"""``nndiag autopsy``: which equation made the first NaN or Inf, where and why."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nndiag.cli.options import (
    AsJson,
    Changes,
    Data,
    Epochs,
    Preset,
    Seed,
    Steps,
    assignments,
)
from nndiag.cli.outcome import stage
from nndiag.errors import SettingError

if TYPE_CHECKING:
    from nndiag.session import Examined


class Wanted(StrEnum):
    """What counts as a fault."""

    nan = "nan"
    inf = "inf"
    any = "any"


def autopsy(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="TARGET|RUN|SCRIPT.py",
            help="A target to train, the directory of a run, or a script to run.",
        ),
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- ARGUMENTS]", help="Arguments of the script."),
    ] = None,
    preset: Preset = None,
    changes: Changes = None,
    data: Data = None,
    epochs: Epochs = None,
    steps: Steps = None,
    seed: Seed = 0,
    look_for: Annotated[
        Wanted | None,
        typer.Option(
            help="What counts.  [default: any; of a script, nan]", show_default=False
        ),
    ] = None,
    reproduce: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write a script and data there that repeat the failure.",
            show_default=False,
        ),
    ] = None,
    pdb: Annotated[
        bool,
        typer.Option("--pdb", help="Open the debugger at the line, with its arrays."),
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Find the equation that made the first NaN or Inf, and say why.

    A target is trained, and a script run, until something breaks; the failing step is
    then replayed equation by equation. Ends with exit code 1 if something was found.
    """
    from nndiag import session

    with stage(as_json=as_json, quiet=False):
        if Path(subject).is_dir():
            examined = session.examine_run(Path(subject))
        elif subject.endswith(".py") and not session.holds_target(Path(subject)):
            path = Path(subject)
            wanted = (look_for or Wanted.nan).value
            examined = session.examine_script(path, arguments or [], look_for=wanted)
        else:
            options = session.RunOptions(
                target=subject,
                preset=preset,
                changes=assignments(changes or []),
                data=data,
                epochs=epochs,
                steps=steps,
                seed=seed,
            )
            wanted = (look_for or Wanted.any).value
            examined = session.examine_target(options, look_for=wanted)
    _show(examined, as_json=as_json)
    if examined.autopsy is None:
        return 0
    if reproduce is not None:
        if reproduce.exists():
            raise SettingError(f"{reproduce} exists; choose another directory")
        print(f"To repeat: python {examined.autopsy.reproduce(reproduce)}")
    if pdb:
        session.open_debugger(examined.autopsy)
    return 1


def _show(examined: Examined, *, as_json: bool) -> None:
    import json

    from rich.console import Console

    from nndiag import render

    found = examined.autopsy
    if as_json:
        document = None if found is None else render.autopsy_json(found)
        print(json.dumps({"step": examined.step, "autopsy": document}, indent=2))
    elif found is None:
        steps = "1 step" if examined.step == 1 else f"{examined.step} steps"
        print(f"No NaN or Inf in {steps}.")
    else:
        render.print_autopsy(Console(), found, step=examined.step)
