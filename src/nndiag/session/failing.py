"""The first bad step of a run: found by running it again under guard, and examined."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nndiag import replay, store
from nndiag.session.wording import name_and_text


class Failure(NamedTuple):
    """A step that made a NaN or Inf, with all that is needed to run it again.

    Attributes:
        step: its number in the run.
        state: the state that it was given, still finite.
        batch: its batch.
    """

    step: int
    state: Any
    batch: Any


def with_loss_only(step: Callable[..., Any]) -> Callable[..., Any]:
    """The step without its other metrics, which may be Inf for good reasons."""

    @functools.wraps(step)
    def wrapped(state: Any, batch: Any) -> tuple[Any, Any]:
        state, metrics = step(state, batch)
        return state, {"loss": metrics["loss"]}

    return wrapped


def find_failure(
    step: Callable[[Any, Any], Any],
    state: Any,
    data: Any,
    start: int,
    steps: int,
    number: int,
) -> Failure | None:
    """The first step of a stretch whose loss or state is not finite.

    Args:
        step: the training step.
        state: the state before the stretch.
        data: stacked batches.
        start: index of the first batch.
        steps: length of the stretch.
        number: of its first step, in the run.

    Returns:
        `None` if all steps are finite this time.
    """
    guarded = replay.guard(with_loss_only(step))

    @jax.jit
    def run(state: Any, data: Any, start: Any, steps: Any) -> replay.Guarded:
        def batch(i: Any) -> Any:
            return jax.tree.map(lambda stacked: stacked[start + i], data)

        return jax.lax.fori_loop(
            0,
            steps,
            lambda i, held: guarded(held, batch(i))[0],
            guarded.start(state, batch(0)),
        )

    end = run(state, data, jnp.asarray(start), jnp.asarray(steps))
    if end.good:
        return None
    return Failure(number + int(end.step), end.state, end.batch)


def examine(
    failure: Failure, step: Callable[..., Any], writer: store.Writer, directory: Path
) -> None:
    """Finds what went wrong in a step and stores it with the run.

    Args:
        failure: the step that failed.
        step: the training step.
        writer: takes the autopsy, or the reason why there is none.
        directory: where the script is written that repeats the step.
    """
    try:
        found = replay.autopsy(with_loss_only(step), failure.state, failure.batch)
        if found is None:
            writer.note(
                f"Step {failure.step} returned a NaN or Inf; replayed, no equation of "
                "it made one anew, so there is no autopsy."
            )
            return
        writer.add_autopsy(failure.step, found)
        found.reproduce(directory)
    except Exception as error:  # the run and its report come first
        writer.note(f"The autopsy of step {failure.step}: {name_and_text(error)}")
