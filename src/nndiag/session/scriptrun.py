"""`nndiag run script.py`: a script as it is, watched, diagnosed, published."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from nndiag import store
from nndiag.jaxprs import compat
from nndiag.records import Status
from nndiag.session.course import Course
from nndiag.session.describing import describe
from nndiag.session.observing import Observer
from nndiag.session.options import RunOptions
from nndiag.session.places import new_directory
from nndiag.session.publishing import Outcome, publish
from nndiag.session.scripting import Ending, Script, last_words, play
from nndiag.session.wording import name_and_text


class ScriptOutcome(NamedTuple):
    """What came of a script.

    Attributes:
        code: its own exit code.
        outcomes: one for each function that trained.
        seen: what was and was not seen, one sentence each.
    """

    code: int
    outcomes: tuple[Outcome, ...]
    seen: tuple[str, ...]


def run_script(
    script: Script, options: RunOptions, show: Callable[[ScriptOutcome], None]
) -> ScriptOutcome:
    """Runs a script under watch.

    Its output, arguments, exit code, working directory and random numbers are its own.
    Each jitted function in which a gradient is taken has a run of its own; its calls
    are the steps.

    Args:
        script: the program.
        options: `every`, `parts`, `out` and `dpi` are used.
        show: is given the outcome, also where the script leaves by `os._exit`.

    Raises:
        TargetError: there is no such script.
        RunError: the run directory is taken.
    """
    script.require()
    watching = _Watching(script, options)

    def speak(code: int) -> None:
        show(watching.finish(Ending(code)))

    with watching.observer.observing(), last_words(speak):
        ending = play(script)
    ending.show()
    outcome = watching.finish(ending)
    show(outcome)
    return outcome


@dataclass
class _Names:
    """Run directories, one for each function that trains."""

    first: Path
    taken: int = 0

    def next(self, function: str) -> Path:
        """A directory for the run of a function."""
        self.taken += 1
        if self.taken == 1:
            return self.first
        return self.first.with_name(f"{self.first.name}-{function}-{self.taken}")


class _Watching:
    def __init__(self, script: Script, options: RunOptions) -> None:
        self.script, self.options = script, options
        last = script.name.rpartition(".")[2]
        stem = last if script.is_module else Path(script.name).stem
        # The script may change its directory.
        first = (options.out or new_directory(stem)).absolute()
        store.require_new(first)
        names, here = _Names(first), Path(script.name).absolute()

        def course(function: str) -> Course:
            name = f"{script.name}:{function}"
            path = names.next(function)
            return Course(
                path,
                lambda: describe(
                    name=name,
                    every=options.every,
                    watched=options.watched,
                    program=None if script.is_module else str(here),
                ),
            )

        self.observer = Observer(options.level, options.every, course)
        os.register_at_fork(after_in_child=self.observer.forget)

    def finish(self, ending: Ending) -> ScriptOutcome:
        """Closes, diagnoses and publishes what was recorded."""
        status: Status = "finished"
        if ending.error is not None:
            interrupted = isinstance(ending.error, KeyboardInterrupt)
            status = "interrupted" if interrupted else "failed"
        closed = self.observer.close(status)
        if not compat.is_first_process() or any(
            fun.course is not None and fun.course.elsewhere
            for fun in self.observer.trained
        ):
            return ScriptOutcome(ending.code, (), ())
        seen = self.observer.seen or [
            f"{self.script.name} took no gradient with jax.grad or jax.value_and_grad "
            "while it ran, so there was nothing to watch."
        ]
        outcomes: list[Outcome] = []
        for course in closed:
            with contextlib.suppress(KeyboardInterrupt):
                try:
                    outcomes.append(publish(course.path, dpi=self.options.dpi))
                except Exception as error:
                    seen.append(
                        f"The report of {course.path} failed: {name_and_text(error)}"
                    )
        return ScriptOutcome(ending.code, tuple(outcomes), tuple(seen))
