"""`record`: the run directory of a training loop that people write themselves."""

from __future__ import annotations

import operator
import threading
import time
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax

from nndiag import render, rules, store
from nndiag.errors import SettingError
from nndiag.jaxprs import compat
from nndiag.records import NAN_CHECK_REVIVED, Finding, Readings, Status, StepRecord
from nndiag.session.arrivals import Arrivals
from nndiag.session.describing import describe
from nndiag.session.gathering import plain
from nndiag.session.publishing import Outcome, publish
from nndiag.session.reduction import reduce_loss, scalar
from nndiag.session.wording import name_and_text

_Pending = tuple[int, float, Any, dict[str, Any]]
"""Step, seconds, readings and metrics, perhaps still on their way."""


def record(path: str | Path, *, every: int = 1) -> Recording:
    """Opens a new run directory for a loop of one's own.

    Of several processes of one training (`jax.distributed`) the first writes; in the
    others the same calls do nothing, `diagnose` finds nothing, `publish` returns
    `None`. Call it after `jax.distributed.initialize`.

    Args:
        path: the directory; it must not exist yet, or be empty.
        every: readings are kept of one step in `every`, losses of all.

    Raises:
        RunError: `path` is in the way, or cannot be written.
        SettingError: `every` is below 1.

    Example:
        >>> import nndiag, jax.numpy as jnp, tempfile
        >>> def step(w, x):
        ...     loss, g = jax.value_and_grad(lambda w: jnp.square(x @ w).mean())(w)
        ...     return w - 0.05 * g, {"loss": loss}
        >>> watched, w = jax.jit(nndiag.watch(step)), jnp.ones(2)
        >>> with nndiag.record(Path(tempfile.mkdtemp(), "run")) as run:
        ...     for number in range(20):
        ...         (w, metrics), readings = watched(w, jnp.eye(2))
        ...         run.log(number, readings, metrics)
        >>> run.diagnose()
        ()
    """
    if every < 1:
        raise SettingError(f"every is {every}; it must be at least 1")
    return Recording(Path(path), every)


class Recording:
    """A run being recorded; a context manager that closes it.

    Any thread may call it, and a process may have several open at once. Neither `log`
    nor `evaluate` nor `close` ends the training: what cannot be stored is left out;
    the first such loss is noted, and told in a warning at the end. What comes after
    `close` is not stored, and told in a warning, once.

    Attributes:
        path: the run directory.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path = path
        self._every = every
        self._pending: Arrivals[_Pending] = Arrivals(lambda pending: pending[2:])
        self._lock = threading.RLock()
        self._closed = self._warned = False
        self._began = time.perf_counter()
        self._lost: str | None = None
        self._writes = compat.is_first_process()
        self._writer = (
            store.create(path, describe(every=every), collect=self._collect)
            if self._writes
            else store.Nowhere(path)
        )

    def log(
        self,
        step: int,
        readings: Readings | None = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> None:
        """Takes the readings and metrics of one step, and returns at once.

        They are read from the device when they are ready. The loss is
        ``metrics["loss"]``, or that of the readings.

        Args:
            step: number of the step.
            readings: what a watched function returned; `None` for a bare step.
            metrics: other scalars by name; what is no scalar is left out.
        """
        seconds = time.perf_counter() - self._began
        if compat.debug_nans_is_dead():
            compat.revive_debug_nans()
            self._writer.note(NAN_CHECK_REVIVED)
        if not self._writes:
            return
        with self._losing(f"step {step!r}"), self._lock:
            if self._is_closed(f"step {step!r}"):
                return
            number = operator.index(step)
            given = {} if metrics is None else metrics
            if not isinstance(given, Mapping):
                self._lose(f"the metrics of step {number}", "they are no dict")
                given = {}
            self._pending.add((number, seconds, readings, dict(given)))
            if self._pending.is_due:
                self._collect()

    def evaluate(self, step: int, metrics: Mapping[str, float]) -> None:
        """Stores held-out metrics after `step` steps; what is no scalar is left out."""
        if not self._writes:
            return
        with self._losing(f"the evaluation after step {step!r}"), self._lock:
            if self._is_closed(f"the evaluation after step {step!r}"):
                return
            number = operator.index(step)
            self._writer.evaluate(number, self._scalars(f"step {number}", metrics))

    def diagnose(self) -> tuple[Finding, ...]:
        """What is wrong with the run so far, most important first."""
        if not self._writes:
            return ()
        self._drain()
        return rules.diagnose(store.read(self.path))

    def publish(self, *, dpi: int = 150) -> Outcome | None:
        """Writes the HTML report and the pictures into the run directory."""
        if not self._writes:
            return None
        self._drain()
        return publish(self.path, dpi=dpi)

    def close(self, status: Status = "finished") -> None:
        """Stores what is pending and closes the run; the first call counts."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._drain()
        self._writer.close(status)
        if lost := self._writer.lost or self._lost:
            warnings.warn(lost, stacklevel=2)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        elif issubclass(kind, KeyboardInterrupt):
            self.close("interrupted")
        else:
            self.close("failed")

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict on the run so far."""
        if not self._writes:
            return f"<p>The run {self.path} is written by another process.</p>"
        self._drain()
        return render.fragment(store.read(self.path))

    def _collect(self) -> None:
        with self._lock:
            for pending in self._pending.take():
                self._store(*pending)

    def _drain(self) -> None:
        while (first := self._pending.first) is not None:
            # without the lock: a thread that trains must not wait for this one
            with suppress(Exception):
                jax.block_until_ready(first[2:])
            with self._lock:
                if self._pending.first is first:
                    self._store(*self._pending.pop())
        self._writer.flush()

    def _is_closed(self, what: str) -> bool:
        if self._closed and not self._warned:
            self._warned = True
            warnings.warn(
                f"The run {self.path} is closed: {what} is not stored, nor is what "
                "follows.",
                stacklevel=3,
            )
        return self._closed

    def _store(
        self, step: int, seconds: float, readings: Any, metrics: dict[str, Any]
    ) -> None:
        loss = reduced = None
        with self._losing(f"the loss of step {step}"):
            loss = reduce_loss(metrics.pop("loss", None))
        values = self._scalars(f"step {step}", metrics)
        if readings is not None:
            with self._losing(f"the readings of step {step}"):
                if step % self._every == 0:
                    reduced = plain(readings)
                if loss is None:
                    loss = reduce_loss(
                        readings.loss if reduced is None else reduced.loss
                    )
        self._writer.add(StepRecord(step, seconds, loss, values, reduced))

    def _scalars(self, when: str, metrics: Mapping[str, Any]) -> dict[str, float]:
        values: dict[str, float] = {}
        for name, value in metrics.items():
            with self._losing(f"the metric {name!r} of {when}"):
                number = scalar(value)
                if number is not None:
                    values[str(name)] = number
        return values

    @contextmanager
    def _losing(self, what: str) -> Generator[None]:
        """Gives up `what`, not the training, when its body raises."""
        try:
            yield
        except Exception as error:
            self._lose(what, name_and_text(error))

    def _lose(self, what: str, why: str) -> None:
        with self._lock:
            if self._lost is None:
                self._lost = f"Could not store {what} ({why})."
                self._writer.note(self._lost)
