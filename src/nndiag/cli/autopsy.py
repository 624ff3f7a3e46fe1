"""``nndiag autopsy``: which equation made the first NaN or Inf, where and why."""

from __future__ import annotations

import sys
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
    refuse_for_script,
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

    if reproduce is not None and reproduce.exists():
        raise SettingError(f"{reproduce} exists; choose another directory")
    with stage(as_json=as_json, quiet=False):
        if Path(subject).is_dir():
            examined, wanted = session.examine_run(Path(subject)), Wanted.any
        elif subject.endswith(".py") and not session.holds_target(Path(subject)):
            path = Path(subject)
            settings = {
                "--preset": preset,
                "--set": changes,
                "--data": data,
                "--epochs": epochs,
                "--steps": steps,
            }
            refuse_for_script(subject, settings)
            wanted = look_for or Wanted.nan
            examined = session.examine_script(
                path, arguments or [], look_for=wanted.value
            )
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
            wanted = look_for or Wanted.any
            examined = session.examine_target(options, look_for=wanted.value)
    _show(examined, wanted, as_json=as_json)
    if examined.autopsy is None:
        return 0
    if reproduce is not None:
        script = examined.autopsy.reproduce(reproduce)
        print(f"To repeat: python {script}", file=sys.stderr if as_json else sys.stdout)
    if pdb:
        session.open_debugger(examined.autopsy)
    return 1


def _show(examined: Examined, looked_for: Wanted, *, as_json: bool) -> None:
    import json

    from rich.console import Console

    from nndiag import render

    found = examined.autopsy
    if as_json:
        document = None if found is None else render.autopsy_json(found)
        print(json.dumps({"step": examined.step, "autopsy": document}, indent=2))
    elif found is None:
        print(_nothing(examined, looked_for))
    else:
        render.print_autopsy(Console(), found, step=examined.step)


def _nothing(examined: Examined, looked_for: Wanted) -> str:
    """What to say when there is no autopsy."""
    number, unit = examined.step, examined.unit
    if examined.failed:
        return (
            f"{unit.capitalize()} {number} returned what is not finite, but none of "
            "its equations made anew what was looked for; try --look-for any."
        )
    words = {"nan": "NaN", "inf": "Inf", "any": "NaN or Inf"}
    count = f"{number} {unit}{'' if number == 1 else 's'}"
    hint = "" if looked_for == "any" else "; --look-for any looks for both"
    return f"No {words[looked_for]} in {count}{hint}."
