"""What `nndiag run` says of a script when it has ended, however it ended."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from nndiag.cli.outcome import deliver

if TYPE_CHECKING:
    from nndiag.records import Finding
    from nndiag.session import RunOptions, Script, ScriptOutcome


def watch_script(
    script: Script,
    options: RunOptions,
    *,
    as_json: bool,
    quiet: bool,
    open_page: bool,
    fails: Callable[[Iterable[Finding]], bool],
) -> int:
    """Run a script under watch; its exit code, or 1 where `fails` says so.

    What the script prints on standard output is left alone, so all that there is to say
    goes to standard error; but JSON, and the path that ``--quiet`` asks for, come last
    on standard output, and then what the script prints goes to standard error.
    """
    from nndiag import session

    stdout, stderr = sys.stdout, sys.stderr
    for_machines = as_json or quiet

    def show(outcome: ScriptOutcome) -> None:
        with contextlib.redirect_stderr(stderr):
            for sentence in outcome.seen:
                print(f"nndiag: {sentence}", file=stderr)
            with contextlib.redirect_stdout(stdout if for_machines else stderr):
                for each in outcome.outcomes:
                    deliver(each, as_json=as_json, quiet=quiet, open_page=open_page)
                sys.stdout.flush()

    with contextlib.ExitStack() as stack:
        if for_machines:
            stack.enter_context(contextlib.redirect_stdout(stderr))
        outcome = session.run_script(script, options, show)
    failed = any(fails(each.findings) for each in outcome.outcomes)
    return outcome.code or int(failed)
