"""`nndiag run`: train a target under watch, diagnose, publish."""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import jax
from rich.console import Console

from nndiag import render, store
from nndiag.errors import TargetError
from nndiag.jaxprs import compat
from nndiag.protocol import Target
from nndiag.records import Status, StepRecord
from nndiag.session.describing import describe
from nndiag.session.failing import examine
from nndiag.session.loading import configure, load_target
from nndiag.session.options import RunOptions
from nndiag.session.places import new_directory
from nndiag.session.program import Program, settle
from nndiag.session.reduction import scalar
from nndiag.session.training import Poisoned, Trainer, epochs
from nndiag.session.wording import name_and_text, text_of

if TYPE_CHECKING:
    from nndiag.session.publishing import Outcome


Writing = store.Writer | store.Nowhere


def run(options: RunOptions, console: Console | None = None) -> Outcome | None:
    """Trains a target under watch, then diagnoses and publishes the run.

    An interrupt (Ctrl-C) or an error of the target while it trains ends the training,
    not the run: what was recorded is diagnosed and published.

    Args:
        options: what to do.
        console: where the live view is shown; `None` for nowhere.

    Returns:
        `None` in all but the first of several processes, which writes.

    Raises:
        TargetError: the target cannot be loaded.
        SettingError: a setting is unknown.
        ProgramError: the target's step cannot be watched; nothing was written.
        RunError: the run directory exists or cannot be written.
    """
    target = prepare(options)
    if options.debug_nans:
        jax.config.update("jax_debug_nans", True)
    return _Run(options, target).execute(console)


def prepare(options: RunOptions) -> Target:
    """The target that the options name, with their settings."""
    changes: dict[str, Any] = dict(options.changes)
    if options.data is not None:
        changes["data"] = options.data
    target = load_target(options.target)
    return configure(target, preset=options.preset, changes=changes)


def keys(seed: int) -> tuple[jax.Array, jax.Array]:
    """The keys of a run, for its first state and for its data."""
    key = jax.random.key(seed)
    return jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)


class _Run:
    """The course of one run."""

    def __init__(self, options: RunOptions, target: Target) -> None:
        self.options = options
        self.target = target

    def execute(self, console: Console | None) -> Outcome | None:
        """Trains, stores and publishes."""
        options, writes = self.options, compat.is_first_process()
        console = console if writes else None
        path = options.out or new_directory(options.preset or options.target)
        if writes:
            store.require_new(path)
        if console is not None:
            console.print("making data and parameters ready …")
        init_key, data_key = keys(options.seed)
        count = count_epochs(self.target, options)
        with bad_input("the target cannot be set up"):
            state = settle(self.target.init(init_key))
            course = epochs(self.target, data_key, count)
            stacks = next(course)
            stack = next(stacks)
        program = Program(self.target.train_step, options.level, every=options.every)
        notes = program.check(state, stack)
        planned = _planned_steps(self.target, stack, count, options.steps)
        header = describe(
            self.target,
            name=options.target,
            seed=options.seed,
            every=options.every,
            watched=options.watched,
            steps_planned=planned,
        )
        writer = store.create(path, header) if writes else store.Nowhere(path)
        for note in notes:
            writer.note(note)
        with _view(console, path.name, planned, options.every) as show:
            trainer = Trainer(program, show=_recorder(writer, show), note=writer.note)
            course = itertools.chain([itertools.chain([stack], stacks)], course)
            status = self._train(trainer, writer, state, course)
        if trainer.failure is not None and not compat.is_alone():
            writer.note(
                f"Step {trainer.failure.step} made a NaN or Inf; it is not replayed, "
                "as its arrays are spread over several processes."
            )
        elif trainer.failure is not None and isinstance(writer, store.Writer):
            if console is not None:
                console.print(f"replaying step {trainer.failure.step} …")
            examine(trainer.failure, program.step, writer, path / "failure")
        writer.close(status)
        if writer.lost:
            warnings.warn(writer.lost, stacklevel=2)
        if not writes:
            return None
        # Imported late: until the first step, people wait.
        from nndiag.session.publishing import publish

        return publish(path, dpi=options.dpi)

    def _train(
        self,
        trainer: Trainer,
        writer: Writing,
        state: Any,
        course: Iterator[Iterator[Any]],
    ) -> Status:
        limit = self.options.steps
        try:
            for stacks in course:
                for stack in stacks:
                    state = trainer.run_stack(state, stack, limit)
                    if limit is not None and trainer.step >= limit:
                        break
                trainer.finish()
                self._evaluate(writer, trainer.step, state)
                if limit is not None and trainer.step >= limit:
                    break
        except KeyboardInterrupt:
            _finish(trainer)
            writer.note(f"Interrupted at step {trainer.step}.")
            return "interrupted"
        except Poisoned:
            return "stopped"
        except Exception as error:
            _finish(trainer)
            writer.note(
                f"Training ended at step {trainer.step} with {name_and_text(error)}"
            )
            return "failed"
        return "finished"

    def _evaluate(self, writer: Writing, step: int, state: Any) -> None:
        evaluate = getattr(self.target, "evaluate", None)
        if evaluate is not None:
            values = {name: scalar(value) for name, value in evaluate(state).items()}
            writer.evaluate(step, {k: v for k, v in values.items() if v is not None})


def _finish(trainer: Trainer) -> None:
    """Stores the steps before the one that failed, as far as they can be had."""
    with contextlib.suppress(Exception):  # the first error is the one to tell
        trainer.finish()


def count_epochs(target: Target, options: RunOptions) -> int:
    """How many epochs to train: enough for `steps`, if only that is given."""
    if options.epochs is not None:
        return options.epochs
    if options.steps is not None:
        return options.steps
    return int(getattr(getattr(target, "settings", None), "epochs", 1))


def _planned_steps(target: Target, stack: Any, count: int, limit: int | None) -> int:
    """Number of steps to come, 0 if a target that feeds batches does not say."""
    if not callable(getattr(target, "epoch", None)):
        return limit or 0
    total = count * len(jax.tree.leaves(stack)[0])
    return min(total, limit or total)


@contextlib.contextmanager
def _view(
    console: Console | None, title: str, steps: int, every: int
) -> Iterator[Callable[[StepRecord], None]]:
    if console is None:
        yield lambda record: None
        return
    with render.LiveView(console, title=title, total_steps=steps, every=every) as view:
        yield view.show


def _recorder(
    writer: Writing, show: Callable[[StepRecord], None]
) -> Callable[[StepRecord], None]:
    """Stores and shows each record; a fault of the view ends the view only."""
    failed = False

    def record(step: StepRecord) -> None:
        nonlocal failed
        writer.add(step)
        if failed:
            return
        try:
            show(step)
        except Exception as error:
            failed = True
            writer.note(f"The live view stopped: {name_and_text(error)}")

    return record


@contextlib.contextmanager
def bad_input(what: str) -> Iterator[None]:
    """Turns what a target says about bad input into an error of one line."""
    try:
        yield
    except StopIteration as error:
        raise TargetError(f"{what}: an epoch has no batch") from error
    except (ValueError, OSError) as error:
        raise TargetError(f"{what}: {text_of(error)}") from error
