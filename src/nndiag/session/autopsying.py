"""`nndiag autopsy`: train until something breaks, and say which equation did it."""

from __future__ import annotations

import itertools
import pdb
import sys
from pathlib import Path
from typing import NamedTuple

from nndiag import store
from nndiag.errors import RunError
from nndiag.probes import Level
from nndiag.records import Autopsy
from nndiag.replay import LookFor, autopsy
from nndiag.session.breaking import run_until_bad
from nndiag.session.failing import with_loss_only
from nndiag.session.options import RunOptions
from nndiag.session.program import Program, settle
from nndiag.session.running import bad_input, count_epochs, keys, prepare
from nndiag.session.scripting import Script
from nndiag.session.training import Poisoned, Trainer, epochs


class Examined(NamedTuple):
    """What came of it.

    Attributes:
        step: the step (or, of a script, the jitted call) that failed, counted from 0;
            how many there were if none did.
        autopsy: `None` if nothing failed, or not in the way that was looked for.
        failed: whether a step (or call) returned what is not finite.
        unit: what was counted, ``"step"`` or ``"jitted call"``.
    """

    step: int
    autopsy: Autopsy | None
    failed: bool = False
    unit: str = "step"


def examine_target(options: RunOptions, *, look_for: LookFor = "any") -> Examined:
    """Trains a target, unwatched, until a step makes a NaN or Inf.

    Args:
        options: which target, and how long.
        look_for: as in `nndiag.autopsy`.

    Raises:
        TargetError: the target cannot be loaded or set up.
        SettingError: a setting is unknown.
        ProgramError: the step cannot be run or replayed.
    """
    target = prepare(options)
    init_key, data_key = keys(options.seed)
    with bad_input("the target cannot be set up"):
        state = settle(target.init(init_key))
        course = epochs(target, data_key, count_epochs(target, options))
        stacks = itertools.chain.from_iterable(course)
        first = next(stacks)
    program = Program(target.train_step, Level(), every=options.every)
    program.check(state, first)
    program.watching = False
    trainer = Trainer(program, show=lambda record: None)
    try:
        for stack in itertools.chain([first], stacks):
            state = trainer.run_stack(state, stack, options.steps)
            if trainer.failure or trainer.step == options.steps:
                break
        trainer.finish()
    except Poisoned:
        pass
    failure = trainer.failure
    if failure is None:
        return Examined(trainer.step, None)
    step = with_loss_only(program.step)
    found = autopsy(step, failure.state, failure.batch, look_for=look_for)
    return Examined(failure.step, found, failed=True)


def examine_run(path: Path) -> Examined:
    """The autopsy that a stored run holds.

    Raises:
        RunError: `path` is no readable run directory.
    """
    run = store.read(path)
    if not run.autopsies:
        return Examined(len(run.steps), None)
    step = min(run.autopsies)
    return Examined(step, run.autopsies[step], failed=True)


def examine_script(
    path: Path, arguments: list[str], *, look_for: LookFor = "nan"
) -> Examined:
    """Runs a script until a function that it jitted returns a NaN (or Inf).

    Args:
        path: the script; runs as ``__main__``.
        arguments: its command line.
        look_for: as in `nndiag.autopsy`.

    Raises:
        TargetError: there is no such file, or it raises.
    """
    script = Script(str(path), tuple(arguments))
    number, found = run_until_bad(script, look_for)
    return Examined(number, found, failed=found is not None, unit="jitted call")


def open_debugger(found: Autopsy) -> None:
    """Opens pdb at the offending line, with the replayed arrays as variables.

    Raises:
        RunError: the autopsy was read from a file, without its arrays.
    """
    if not found.values:
        raise RunError(
            "a stored autopsy has no arrays to look at; give the target or the script "
            "instead of the run"
        )
    place = "\n" * (max(found.line, 1) - 1) + "pass"
    names = ", ".join(found.values)
    print(f"{found.primitive} at {found.file}:{found.line}; arrays: {names}")
    debugger = pdb.Pdb(stdout=sys.stdout)
    debugger.run(compile(place, found.file or "<input>", "exec"), dict(found.values))
