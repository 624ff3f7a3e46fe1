"""``nndiag run``: train a target under watch, diagnose, report."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nndiag.cli.options import (
    AsJson,
    Changes,
    Data,
    Dpi,
    Epochs,
    Exclude,
    Include,
    OpenPage,
    Preset,
    Seed,
    Steps,
    assignments,
    refuse_for_script,
    whole,
)
from nndiag.cli.outcome import INTERRUPTED, deliver, stage
from nndiag.cli.script import watch_script
from nndiag.errors import ProgramError, SettingError

if TYPE_CHECKING:
    from nndiag.records import Finding
    from nndiag.session import Script


class Tier(StrEnum):
    """How much is watched."""

    light = "light"
    standard = "standard"
    full = "full"


class FailOn(StrEnum):
    """The severity from which on a finding makes the command fail."""

    never = "never"
    warning = "warning"
    error = "error"

    def met_by(self, findings: Iterable[Finding]) -> bool:
        """Whether one of the findings, or of what they explain, is that severe."""
        severe = {"never": (), "warning": ("warning", "error"), "error": ("error",)}
        return any(
            finding.severity in severe[self] or self.met_by(finding.symptoms)
            for finding in findings
        )


def run(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[TARGET|SCRIPT.py]",
            help="What to train: package.module:attribute, file.py:attribute, or a "
            "script to run.  [default: mnist_model:target]",
            show_default=False,
        ),
    ] = None,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- ARGUMENTS]", help="Arguments of the script."),
    ] = None,
    module: Annotated[
        str | None,
        typer.Option(
            "-m",
            metavar="MODULE",
            help="Run this module as a script, as python -m does.",
            show_default=False,
        ),
    ] = None,
    saturation: Annotated[
        bool,
        typer.Option("--watch-saturation", help="Watch the activations of each layer."),
    ] = False,
    gradients: Annotated[
        bool,
        typer.Option("--watch-gradients", help="Watch the gradient at each layer."),
    ] = False,
    updates: Annotated[
        bool,
        typer.Option("--watch-updates", help="Watch the updates of the parameters."),
    ] = False,
    overflow: Annotated[
        bool,
        typer.Option("--watch-overflow", help="Watch the headroom before overflow."),
    ] = False,
    everything: Annotated[
        bool,
        typer.Option("--watch-all", help="Watch all of it, as with no --watch at all."),
    ] = False,
    include: Include = None,
    exclude: Exclude = None,
    level: Annotated[
        Tier,
        typer.Option(
            help="How much is watched: light, standard (all --watch parts), or full: "
            "also histograms, single units, and which examples pull hardest."
        ),
    ] = Tier.standard,
    debug_nans: Annotated[
        bool,
        typer.Option(
            "--debug-nans", help="Turn jax_debug_nans on, and keep it working."
        ),
    ] = False,
    every: Annotated[
        int,
        typer.Option(
            parser=whole("--every"), metavar="N", help="Record one step in N."
        ),
    ] = 10,
    epochs: Epochs = None,
    steps: Steps = None,
    seed: Seed = 0,
    preset: Preset = None,
    changes: Changes = None,
    data: Data = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The run directory, a new one.  [default: one under reports]",
            show_default=False,
        ),
    ] = None,
    dpi: Dpi = 150,
    open_page: OpenPage = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print the path of the report, no more.")
    ] = False,
    as_json: AsJson = False,
    fail_on: Annotated[
        FailOn, typer.Option(help="End with exit code 1 on such a finding or worse.")
    ] = FailOn.never,
) -> int:
    """Train a target or run a script under watch, diagnose it, and write a report.

    The loss, the gradient norms and the check for NaN and Inf are always recorded. Each
    --watch option adds its part; without any, all parts are watched.
    """
    from nndiag import session

    chosen = {
        "saturation": saturation,
        "gradients": gradients,
        "updates": updates,
        "overflow": overflow,
    }
    options = session.RunOptions(
        target=target or "mnist_model:target",
        preset=preset,
        changes=assignments(changes or []),
        data=data,
        tier=level.value,
        parts=frozenset(part for part in chosen if chosen[part] or everything),
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        every=every,
        epochs=epochs,
        steps=steps,
        seed=seed,
        out=out,
        debug_nans=debug_nans,
        dpi=dpi,
    )
    script = _script(target, module, arguments or [])
    if script is not None:
        settings = {
            "--preset": preset,
            "--set": changes,
            "--data": data,
            "--epochs": epochs,
            "--steps": steps,
            "--debug-nans": debug_nans,
        }
        refuse_for_script(script.name, settings)
        return watch_script(
            script,
            options,
            as_json=as_json,
            quiet=quiet,
            open_page=open_page,
            fails=fail_on.met_by,
        )
    with stage(as_json=as_json, quiet=quiet) as console:
        outcome = session.run(options, console)
    if outcome is None:  # another process of the same training tells
        return 0
    deliver(outcome, as_json=as_json, quiet=quiet, open_page=open_page)
    if outcome.run.status == "interrupted":
        return INTERRUPTED
    if outcome.run.status == "failed":
        raise ProgramError(
            "the target failed while it trained; the notes of the report say how"
        )
    return 1 if fail_on.met_by(outcome.findings) else 0


def _script(
    target: str | None, module: str | None, arguments: list[str]
) -> Script | None:
    """The script to run, `None` if a target is to be trained."""
    from nndiag import session

    if module is not None:
        words = [target, *arguments] if target is not None else arguments
        return session.Script(module, tuple(words), is_module=True)
    file = Path(target or "")
    if file.suffix == ".py" and not session.holds_target(file):
        return session.Script(str(file), tuple(arguments))
    if arguments:
        raise SettingError(
            f"{arguments[0]!r} is an argument for a script; {target} is a target"
        )
    return None
