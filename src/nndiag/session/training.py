"""Trains a target, recording one step in `every`, never making the device wait."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.jaxprs import compat
from nndiag.protocol import Target
from nndiag.records import StepRecord
from nndiag.session.programs import Programs

_IN_FLIGHT = 2
"""Dispatches that the device has before it; the host waits for older ones only."""

_SEGMENT_SECONDS = 0.25
"""Bare steps are dispatched in segments of about this duration."""


class Pending(NamedTuple):
    """A dispatch whose results have not been read yet."""

    first: int
    steps: int
    metrics: dict[str, Any]
    packed: Any | None


class Trainer:
    """One training run.

    Args:
        programs: the compiled programs.
        every: one step in `every` is recorded.
        show: takes each record, in order of steps, as soon as it is known.

    Attributes:
        step: number of the next step.
        revived: whether JAX's own NaN check was found dead and was revived.
    """

    def __init__(
        self, programs: Programs, *, every: int, show: Callable[[StepRecord], None]
    ) -> None:
        self.programs = programs
        self.every = every
        self.show = show
        self.step = 0
        self.revived = False
        self._began = self._last_read = time.perf_counter()
        self._pending: deque[Pending] = deque()
        self._segment = 1

    def run_stack(self, state: Any, data: Any, limit: int | None) -> Any:
        """Trains on the stacked batches `data`, up to step `limit`; the new state.

        Raises:
            FloatingPointError: `jax_debug_nans` is on and a step made a NaN; that step
                has been recorded.
        """
        total = len(jax.tree.leaves(data)[0])
        index = 0
        while index < total and (limit is None or self.step < limit):
            remaining = total - index
            if limit is not None:
                remaining = min(remaining, limit - self.step)
            self._keep_nan_check_alive()
            try:
                state, count = self._dispatch(state, data, index, remaining)
            except FloatingPointError:
                self._record_failure(state, data, index)
                raise
            index += count
            self.step += count
        return state

    def finish(self) -> None:
        """Waits for all that was dispatched, and shows it."""
        while self._pending:
            self._read(self._pending.popleft())

    def _dispatch(
        self, state: Any, data: Any, index: int, remaining: int
    ) -> tuple[Any, int]:
        until_recorded = -self.step % self.every
        if until_recorded == 0 and self.programs.watchable:
            state, metrics, packed = self.programs.watched(state, data, index)
            pending = Pending(self.step, 1, metrics, packed)
        else:
            count = min(until_recorded or self.every, remaining, self._segment)
            state, metrics = self.programs.bare(state, data, index, count)
            pending = Pending(self.step, count, metrics, None)
        self._pending.append(pending)
        while self._pending and (
            len(self._pending) > _IN_FLIGHT or _is_ready(self._pending[0])
        ):
            self._read(self._pending.popleft())
        return state, pending.steps

    def _read(self, pending: Pending) -> None:
        metrics = {name: np.asarray(v) for name, v in pending.metrics.items()}
        now = time.perf_counter()
        readings = None
        if pending.packed is not None:
            readings = self.programs.unpack(pending.packed)
            metrics = {name: value[None] for name, value in metrics.items()}
        for i in range(pending.steps):
            values = {name: float(value[i]) for name, value in metrics.items()}
            loss = values.pop("loss")
            self.show(
                StepRecord(pending.first + i, now - self._began, loss, values, readings)
            )
        self._pace(pending.steps / max(now - self._last_read, 1e-6))
        self._last_read = now

    def _pace(self, rate: float) -> None:
        """Sizes the next segments by the rate seen last, in steps per second."""
        if compat.debug_nans_is_on():
            return  # One step at a time, so that the failing one is known.
        self._segment = int(min(max(rate * _SEGMENT_SECONDS, 1), self.programs.longest))

    def _keep_nan_check_alive(self) -> None:
        if compat.debug_nans_is_dead():
            compat.revive_debug_nans()
            self.revived = True

    def _record_failure(self, state: Any, data: Any, index: int) -> None:
        """Records the step that JAX stopped, by running it again unchecked."""
        self.finish()
        if self.programs.watchable:
            with jax.debug_nans(False):
                _, metrics, packed = self.programs.watched(state, data, index)
                self._read(Pending(self.step, 1, metrics, packed))


def epochs(target: Target, key: Any, count: int) -> Iterator[Iterator[Any]]:
    """For each epoch its batches, in stacks of one or more: ``[steps, batch, …]``."""
    for epoch_key in jax.random.split(key, count):
        if callable(getattr(target, "epoch", None)):
            yield iter([target.epoch(epoch_key)])  # type: ignore[attr-defined]
        else:
            batches = target.batches(epoch_key)  # type: ignore[attr-defined]
            yield (jax.tree.map(lambda x: jnp.asarray(x)[None], b) for b in batches)


def _is_ready(pending: Pending) -> bool:
    last = pending.metrics["loss"] if pending.packed is None else pending.packed
    return bool(last.is_ready())
