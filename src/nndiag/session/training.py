"""Trains a target, recording one step in `every`, never making the device wait."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.errors import TargetError
from nndiag.jaxprs import compat
from nndiag.protocol import Target
from nndiag.records import NAN_CHECK_REVIVED, StepRecord
from nndiag.replay import finite_leaves
from nndiag.session.failing import Failure, find_failure
from nndiag.session.gathering import gather
from nndiag.session.program import LONGEST, Program, Stretch
from nndiag.session.wording import name_and_text

_IN_FLIGHT = 2
"""Dispatches that the device has before it; the host waits for older ones only."""

_TOGETHER = 10
"""Steps in a stretch where several processes must dispatch the same program."""

_STRETCH_SECONDS = 0.25
"""Steps are dispatched in stretches of about this duration."""


class Pending(NamedTuple):
    """A dispatch whose results have not been read yet.

    Attributes:
        first: number of its first step.
        steps: how many it has.
        state: the state before it.
        data: stacked batches.
        start: index of its first batch.
        stretch: what it returned.
    """

    first: int
    steps: int
    state: Any
    data: Any
    start: int
    stretch: Stretch


class Poisoned(Exception):
    """The training was ended: its state is not finite, and no step will mend it."""


class Trainer:
    """One training run.

    Args:
        program: the compiled program.
        show: takes each record, in order of steps, as soon as it is known.
        note: takes what people must know of the run, one sentence each.

    Attributes:
        step: number of the next step.
        failure: the first step that made a NaN or Inf, as soon as one is known.
    """

    def __init__(
        self,
        program: Program,
        *,
        show: Callable[[StepRecord], None],
        note: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.program = program
        self.show = show
        self.note = note
        self.step = 0
        self.failure: Failure | None = None
        self._began = self._last_read = time.perf_counter()
        self._pending: deque[Pending] = deque()
        self._stretch = 1
        self._finite: np.ndarray | None = None

    def run_stack(self, state: Any, data: Any, limit: int | None) -> Any:
        """Trains on the stacked batches `data`, up to step `limit`; the new state.

        Raises:
            Poisoned: a NaN or Inf got into the state, or a step made one and
                `jax_debug_nans` is on; that step has been recorded.
            FloatingPointError: `jax_debug_nans` is on and saw a NaN that is not seen
                again when the step is repeated.
        """
        total = len(jax.tree.leaves(data)[0])
        index = 0
        while index < total and (limit is None or self.step < limit):
            steps = min(total - index, self._stretch)
            if limit is not None:
                steps = min(steps, limit - self.step)
            self._keep_nan_check_alive()
            try:
                stretch = self._advance(state, data, index, steps)
            except FloatingPointError:
                self.finish()
                with jax.debug_nans(False):  # once more, to see what JAX only stopped
                    self._advance(state, data, index, steps)
                    self.finish()
                if self.failure is None:
                    raise
                raise Poisoned from None
            state = stretch.state
            index += steps
            self.step += steps
        return state

    def finish(self) -> None:
        """Waits for all that was dispatched, and shows it."""
        while self._pending:
            self._read(self._pending.popleft())

    def _advance(self, state: Any, data: Any, index: int, steps: int) -> Stretch:
        stretch = self._dispatch(state, data, index, steps)
        self._pending.append(Pending(self.step, steps, state, data, index, stretch))
        while self._pending and (
            len(self._pending) > _IN_FLIGHT
            # Several processes must meet a NaN at the same step: none looks earlier.
            or (compat.is_alone() and _is_ready(self._pending[0]))
        ):
            self._read(self._pending.popleft())
        return stretch

    def _dispatch(self, state: Any, data: Any, index: int, steps: int) -> Stretch:
        """Advances the program; bare from now on if it cannot be watched any more."""
        try:
            return self.program.advance(state, data, index, steps, self.step)
        except FloatingPointError:
            raise
        except Exception as error:
            if not self.program.watching:
                raise
            fault = error
        self.program.watching = False
        # If the fault is the target's own, it is raised again here.
        stretch = self.program.advance(state, data, index, steps, self.step)
        self.note(
            f"nndiag stopped watching at step {self.step}: {name_and_text(fault)}"
        )
        return stretch

    def _read(self, pending: Pending) -> None:
        metrics, finite, packed = jax.device_get(pending.stretch[1:])
        now = time.perf_counter()
        for i in range(pending.steps):
            values = {name: float(value[i]) for name, value in metrics.items()}
            loss = values.pop("loss")
            number, every = pending.first + i, self.program.every
            readings = None
            if packed is not None and number % every == 0:
                readings = gather(packed.layout, packed.numbers[i // every])
            self.show(StepRecord(number, now - self._began, loss, values, readings))
        self._pace(pending.steps / max(now - self._last_read, 1e-6))
        self._last_read = now
        sound = self._is_sound(finite, pending)
        good = sound and np.isfinite(metrics["loss"][: pending.steps]).all()
        if self.failure is None and not good:
            with jax.debug_nans(False):
                self.failure = self._find_failure(pending)
        if not sound:
            self._pending.clear()
            raise Poisoned

    def _is_sound(self, finite: np.ndarray, pending: Pending) -> bool:
        """Whether the state is finite, as far as it was before the stretch.

        It may hold an Inf on purpose, from the start: the best loss so far.
        """
        before, self._finite = self._finite, finite
        if finite.all():
            return True
        if before is None:
            before = np.asarray(finite_leaves(pending.state))
        return bool((finite | ~before).all())

    def _find_failure(self, pending: Pending) -> Failure | None:
        return find_failure(
            self.program.step,
            pending.state,
            pending.data,
            pending.start,
            pending.steps,
            pending.first,
        )

    def _pace(self, rate: float) -> None:
        """Sizes the next stretches by the rate seen last, in steps per second."""
        if compat.debug_nans_is_on():
            return  # One step at a time, so that the failing one is known.
        if not compat.is_alone():
            self._stretch = _TOGETHER
            return
        self._stretch = int(min(max(rate * _STRETCH_SECONDS, 1), LONGEST))

    def _keep_nan_check_alive(self) -> None:
        if compat.debug_nans_is_dead():
            compat.revive_debug_nans()
            self.note(NAN_CHECK_REVIVED)


def epochs(target: Target, key: Any, count: int) -> Iterator[Iterator[Any]]:
    """For each epoch its batches, in stacks of one or more: ``[steps, batch, …]``."""
    for number in range(count):
        epoch_key = jax.random.fold_in(key, number)
        if callable(getattr(target, "epoch", None)):
            stack = target.epoch(epoch_key)  # type: ignore[attr-defined]
            _require_stack(stack)
            yield iter([stack])
        else:
            batches = target.batches(epoch_key)  # type: ignore[attr-defined]
            yield (jax.tree.map(lambda x: jnp.asarray(x)[None], b) for b in batches)


def _require_stack(stack: Any) -> None:
    leaves = [] if isinstance(stack, Iterator) else jax.tree.leaves(stack)
    if not leaves or any(getattr(leaf, "ndim", 0) == 0 for leaf in leaves):
        raise TargetError(
            f"epoch returned a {type(stack).__name__}; return arrays stacked "
            "[steps, batch, …], or call the function batches if it yields them"
        )


def _is_ready(pending: Pending) -> bool:
    return bool(pending.stretch.metrics["loss"].is_ready())
