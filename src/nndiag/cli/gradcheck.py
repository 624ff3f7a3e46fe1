"""``nndiag gradcheck``: are these gradients right, and if not, where."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nndiag.cli.options import AsJson, Changes, Data, Preset, Seed, assignments, whole
from nndiag.cli.outcome import stage
from nndiag.errors import SettingError

if TYPE_CHECKING:
    from nndiag.records import GradCheck
    from nndiag.session import NonfinitePoint


def gradcheck(
    subject: Annotated[
        str | None,
        typer.Argument(
            metavar="[TARGET|FUNCTION]",
            help="A target, whose loss is checked, or a function: module:function, "
            "file.py:function.  [default: the bundled model, every activation]",
            show_default=False,
        ),
    ] = None,
    gradient: Annotated[
        str | None,
        typer.Option(
            metavar="FUNCTION",
            help="The gradient to check, by hand.  [default: what JAX takes]",
            show_default=False,
        ),
    ] = None,
    at: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npz",
            help="Arguments of the function: arrays by parameter name, params.w for "
            "an entry of a dictionary.  [default: example_arguments() in its file]",
            show_default=False,
        ),
    ] = None,
    argnums: Annotated[
        str | None,
        typer.Option(
            metavar="N,…",
            help="The arguments to differentiate by, from 0.",
            show_default=False,
        ),
    ] = None,
    order: Annotated[
        int,
        typer.Option(
            parser=whole("--order"), metavar="N", help="2 checks the Hessian as well."
        ),
    ] = 1,
    seed: Seed = 0,
    preset: Preset = None,
    changes: Changes = None,
    data: Data = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write a page, pictures and JSON into this new directory.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Check gradients against numbers, forward against reverse, and by Taylor.

    Says which leaf is wrong, at which elements, and what it is instead. Ends with exit
    code 1 if a gradient is wrong, and with 0 if all are right or could not be decided.
    """
    from nndiag import session

    options = session.CheckOptions(
        subject=subject,
        gradient=gradient,
        at=at,
        argnums=None if argnums is None else _numbers(argnums),
        order=order,
        seed=seed,
        preset=preset,
        changes=assignments(changes or []),
        data=data,
    )
    page = None
    with stage(as_json=as_json, quiet=False):
        if out is not None:
            session.require_empty(out)
        try:
            checks = session.check_gradients(options)
        except session.NonfinitePoint as error:
            _show_autopsy(error)
            raise
        if out is not None:
            page = session.publish_gradcheck(checks, out)
    _show(checks, page, as_json=as_json)
    return 1 if any(check.ok is False for check in checks) else 0


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise SettingError(
            f"--argnums is {text!r}; write numbers of arguments, such as 0 or 0,2"
        ) from None


def _show_autopsy(error: NonfinitePoint) -> None:
    """Which equation is to blame; what is not finite has no gradient to check."""
    from rich.console import Console

    from nndiag import render

    render.print_autopsy(Console(), error.autopsy)


def _show(checks: tuple[GradCheck, ...], page: Path | None, *, as_json: bool) -> None:
    from nndiag import render

    if as_json:
        print(render.gradcheck_json(checks))
        return
    from rich.console import Console

    codes = [finding.code for check in checks for finding in check.findings]
    render.print_gradcheck(
        Console(),
        checks,
        page=page,
        next_command=f"nndiag explain {codes[0]}" if codes else "",
    )
