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
from nndiag.session.program import LONGEST, Program, Stretch

_IN_FLIGHT = 2
"""Dispatches that the device has before it; the host waits for older ones only."""

_STRETCH_SECONDS = 0.25
"""Steps are dispatched in stretches of about this duration."""


class Pending(NamedTuple):
    """A dispatch whose results have not been read yet."""

    first: int
    steps: int
    stretch: Stretch


class Trainer:
    """One training run.

    Args:
        program: the compiled program.
        show: takes each record, in order of steps, as soon as it is known.

    Attributes:
        step: number of the next step.
        revived: whether JAX's own NaN check was found dead and was revived.
    """

    def __init__(self, program: Program, *, show: Callable[[StepRecord], None]) -> None:
        self.program = program
        self.show = show
        self.step = 0
        self.revived = False
        self._began = self._last_read = time.perf_counter()
        self._pending: deque[Pending] = deque()
        self._stretch = 1

    def run_stack(self, state: Any, data: Any, limit: int | None) -> Any:
        """Trains on the stacked batches `data`, up to step `limit`; the new state.

        Raises:
            FloatingPointError: `jax_debug_nans` is on and a step made a NaN; that step
                has been recorded.
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
                raise
            state = stretch.state
            index += steps
            self.step += steps
        return state

    def finish(self) -> None:
        """Waits for all that was dispatched, and shows it."""
        while self._pending:
            self._read(self._pending.popleft())

    def _advance(self, state: Any, data: Any, index: int, steps: int) -> Stretch:
        stretch = self.program.advance(state, data, index, steps, self.step)
        self._pending.append(Pending(self.step, steps, stretch))
        while self._pending and (
            len(self._pending) > _IN_FLIGHT or _is_ready(self._pending[0])
        ):
            self._read(self._pending.popleft())
        return stretch

    def _read(self, pending: Pending) -> None:
        metrics = {n: np.asarray(v) for n, v in pending.stretch.metrics.items()}
        packed = np.asarray(pending.stretch.packed)
        now = time.perf_counter()
        for i in range(pending.steps):
            values = {name: float(value[i]) for name, value in metrics.items()}
            loss = values.pop("loss")
            readings = None
            if self.program.records(pending.first + i):
                readings = self.program.unpack(packed[i // self.program.every])
            self.show(
                StepRecord(pending.first + i, now - self._began, loss, values, readings)
            )
        self._pace(pending.steps / max(now - self._last_read, 1e-6))
        self._last_read = now

    def _pace(self, rate: float) -> None:
        """Sizes the next stretches by the rate seen last, in steps per second."""
        if compat.debug_nans_is_on():
            return  # One step at a time, so that the failing one is known.
        self._stretch = int(min(max(rate * _STRETCH_SECONDS, 1), LONGEST))

    def _keep_nan_check_alive(self) -> None:
        if compat.debug_nans_is_dead():
            compat.revive_debug_nans()
            self.revived = True


def epochs(target: Target, key: Any, count: int) -> Iterator[Iterator[Any]]:
    """For each epoch its batches, in stacks of one or more: ``[steps, batch, …]``."""
    for epoch_key in jax.random.split(key, count):
        if callable(getattr(target, "epoch", None)):
            yield iter([target.epoch(epoch_key)])  # type: ignore[attr-defined]
        else:
            batches = target.batches(epoch_key)  # type: ignore[attr-defined]
            yield (jax.tree.map(lambda x: jnp.asarray(x)[None], b) for b in batches)


def _is_ready(pending: Pending) -> bool:
    return bool(pending.stretch.metrics["loss"].is_ready())
