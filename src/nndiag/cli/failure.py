"""An error as one line: what, which value, what next."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

from nndiag.errors import NndiagError


def tell(error: Exception, *, debug: bool) -> int:
    """Print the error on standard error, on one line but for a table in it.

    Args:
        error: what ended the command.
        debug: print its traceback before.

    Returns:
        The exit code.
    """
    if debug:
        traceback.print_exception(error)
    first, *table = describe(error).splitlines() or [""]
    # What comes from elsewhere may have line ends anywhere.
    is_table = isinstance(error, NndiagError) and all(t.startswith("  ") for t in table)
    lines = [first, *table] if is_table else [" ".join([first, *table])]
    for number, line in enumerate(lines):
        text = "".join(c if c.isprintable() else " " for c in line)
        print(text if number else f"nndiag: {' '.join(text.split())}", file=sys.stderr)
    return error.exit_code if isinstance(error, NndiagError) else 2


def describe(error: Exception) -> str:
    """The error in a sentence or two.

    Example:
        >>> from nndiag.errors import SettingError
        >>> describe(SettingError("there is no preset 'rely'"))
        "there is no preset 'rely'"
        >>> describe(ZeroDivisionError("division by zero"))[:46]
        'unexpected ZeroDivisionError: division by zero'
    """
    if isinstance(error, NndiagError):
        return str(error)
    # Typer has moved its usage errors from module to module; all of them have this.
    format_message: Callable[[], str] | None = getattr(error, "format_message", None)
    if format_message is not None:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "nndiag"
        message = format_message()
        stop = "" if message.endswith((".", "?")) else "."
        return f"{message}{stop} Try '{command} --help'."
    name = type(error).__name__
    return f"unexpected {name}: {error}; nndiag --debug … shows the traceback"
