"""The run of one function of a script: its calls are steps, some of them recorded."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nndiag import store
from nndiag.jaxprs import compat
from nndiag.probes import PackedReadings
from nndiag.records import Header, Status, StepRecord
from nndiag.session.arrivals import Arrivals
from nndiag.session.gathering import gather
from nndiag.session.wording import name_and_text

_MOST_SCALARS = 8
_SAME = 1e-5
"""A mean over microbatches is rounded in another order."""


class _Pending(NamedTuple):
    """A step whose numbers have not been read yet.

    Attributes:
        number: of the step.
        seconds: since the run began.
        packed: its readings, `None` of a bare step.
        scalars: those of what the function returned that may be the loss, by position.
    """

    number: int
    seconds: float
    packed: PackedReadings | None
    scalars: dict[int, Any]


class Course:
    """The steps of one function, stored as they become ready.

    Nothing here waits for the device before the end, and nothing raises: what cannot
    be stored is left out, and said.

    Args:
        path: the run directory, made at the first step.
        header: makes the header of the run.

    Attributes:
        path: as given.
        steps: how many there were.
        recorded: how many of them with readings.
        lost: what could not be stored, in a sentence, ``""`` if nothing.
        elsewhere: whether another process of the same training writes it.
    """

    def __init__(self, path: Path, header: Callable[[], Header]) -> None:
        self.path = path
        self.steps = self.recorded = 0
        self.elsewhere = not compat.is_first_process()
        self._header = header
        self._writer: store.Writer | None = None
        self.lost = ""
        self._began = time.perf_counter()
        self._pending: Arrivals[_Pending] = Arrivals(lambda step: step[2:])
        self._lock = threading.RLock()
        self._losses: set[int] | None = None

    def log(self, number: int, result: Any, packed: PackedReadings | None) -> None:
        """Takes what a step returned, and its readings if it was a recorded one."""
        self.steps += 1
        self.recorded += packed is not None
        if self.elsewhere:
            return
        seconds = time.perf_counter() - self._began
        try:
            scalars = self._scalars(result)
            with self._lock:
                self._pending.add(_Pending(number, seconds, packed, scalars))
                if self._open() is not None and self._pending.is_due:
                    self._collect()
        except Exception as error:  # never the end of the script
            self._lose(f"step {number}", error)

    def note(self, sentence: str) -> None:
        """Keeps what people must know of the run."""
        writer = self._open()
        if writer is not None:
            writer.note(sentence)

    def close(self, status: Status) -> bool:
        """Stores what is pending; whether there is a run to look at."""
        with self._lock:
            while self._pending:
                self._store(self._pending.pop())
        if self._writer is None:
            return False
        if self.lost:
            self._writer.note(self.lost)
        self._writer.close(status)
        return True

    def _collect(self) -> None:
        with self._lock:
            for pending in self._pending.take():
                self._store(pending)

    def _open(self) -> store.Writer | None:
        if self._writer is None and not self.lost and not self.elsewhere:
            try:
                self._writer = store.create(
                    self.path, self._header(), collect=self._collect
                )
            except Exception as error:
                self._lose("anything", error)
        return self._writer

    def _lose(self, what: str, error: Exception) -> None:
        self.lost = self.lost or f"Could not store {what} ({name_and_text(error)})."

    def _scalars(self, result: Any) -> dict[int, Any]:
        """The floating scalars that were returned and may be the loss."""
        found: dict[int, Any] = {}
        for position, leaf in enumerate(jax.tree.leaves(result)):
            if np.ndim(leaf) or not isinstance(leaf, jax.Array):
                continue
            if self._losses is not None and position not in self._losses:
                continue
            if jnp.issubdtype(leaf.dtype, jnp.floating):
                found[position] = leaf
            if len(found) == _MOST_SCALARS:
                break
        return found

    def _store(self, step: _Pending) -> None:
        writer = self._open()
        if writer is None:
            return
        try:
            values = {
                position: float(scalar)
                for position, scalar in step.scalars.items()
                if not scalar.is_deleted()
            }
            readings, loss = None, None
            if step.packed is not None:
                numbers = np.asarray(step.packed.numbers)
                readings = gather(step.packed.layout, numbers)
                loss = None if readings is None else readings.loss
                self._compare(values, loss)
            if loss is None and self._losses:
                loss = values.get(min(self._losses))
            writer.add(StepRecord(step.number, step.seconds, loss, {}, readings))
        except Exception as error:
            self._lose(f"step {step.number}", error)

    def _compare(self, values: dict[int, float], loss: float | None) -> None:
        """Keeps as candidates those that have been the loss at each recorded step."""
        if loss is None:
            return
        same = {position for position, value in values.items() if _is_same(value, loss)}
        self._losses = same if self._losses is None else self._losses & same


def _is_same(value: float, loss: float) -> bool:
    both_nan = math.isnan(value) and math.isnan(loss)
    return both_nan or math.isclose(value, loss, rel_tol=_SAME)
