"""The command `nndiag`: its subcommands, its exit codes, its errors on one line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from nndiag.cli.autopsy import autopsy
from nndiag.cli.explain import explain
from nndiag.cli.export import export
from nndiag.cli.failure import tell
from nndiag.cli.gradcheck import gradcheck
from nndiag.cli.list import list_runs
from nndiag.cli.outcome import INTERRUPTED
from nndiag.cli.report import report
from nndiag.cli.run import run


@dataclass
class Switches:
    """The global options.

    Attributes:
        debug: whether errors show their traceback.
    """

    debug: bool = False


# Rich help pages look fine, but importing them doubles the time that --help takes.
app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run)
app.command("autopsy")(autopsy)
app.command("gradcheck")(gradcheck)
app.command("report")(report)
app.command("export")(export)
app.command("list")(list_runs)
app.command("explain")(explain)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"nndiag {version('nndiag')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def nndiag(
    context: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version and exit.",
            is_eager=True,
            callback=_show_version,
        ),
    ] = False,
) -> None:
    """A debugger for neural-network training in JAX.

    Says what is wrong with a training run, where, why, and what helps.

    To begin: nndiag run --watch-saturation
    """
    context.obj.debug = debug
    if context.invoked_subcommand is None:
        print(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: the words after ``nndiag``; `None` for those of this process.

    Returns:
        The exit code: 0; 1 when ``--fail-on`` is met; 2 for bad input, with one line on
        standard error; 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        # a terminal or pipe that lacks a sign shows "?" rather than end the program
        getattr(stream, "reconfigure", lambda **_: None)(errors="replace")
    switches = Switches()
    try:
        code = typer.main.get_command(app).main(
            words, prog_name="nndiag", standalone_mode=False, obj=switches
        )
    except (KeyboardInterrupt, typer.Abort):
        print("nndiag: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        return tell(error, debug=switches.debug)
    return code if isinstance(code, int) else 0
