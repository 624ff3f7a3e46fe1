"""Watches the functions of a script in which gradients are taken.

Each is compiled twice, bare and watched; the host chooses at each call which of the two
runs. A function that takes no gradient runs as the script made it.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any

import jax

from nndiag.jaxprs import compat
from nndiag.probes import Level, watch
from nndiag.records import Status
from nndiag.session.course import Course
from nndiag.session.jitting import replaced_jit
from nndiag.session.observed import Observed
from nndiag.session.unseen import random_state, unseen

_HERE = str(Path(__file__).parents[1])
_JAX = str(Path(jax.__file__).parent)


class Observer:
    """Stands beside `jax.jit` while a script runs.

    Args:
        level: what is measured on a recorded step.
        every: one call in `every` is recorded.
        course: makes the course of a function that trains, by its name.

    Attributes:
        trained: the functions that took gradients, in the order of their first call.
        eager: where gradients were taken outside of any jitted function, and how often.
    """

    def __init__(
        self, level: Level, every: int, course: Callable[[str], Course]
    ) -> None:
        self._level, self._every, self._course = level, every, course
        self._jit = jax.jit
        self._lock = threading.RLock()
        self._inside = threading.local()
        self._closed = self._was_disabled = False
        self.trained: list[Observed] = []
        self.eager: dict[str, int] = {}

    @contextlib.contextmanager
    def observing(self) -> Iterator[None]:
        """Within it, functions that are jitted are watched."""
        with replaced_jit(self._make), compat.witnessed_gradients(self._witness):
            try:
                yield
            finally:
                self._closed = True

    @property
    def seen(self) -> list[str]:
        """What was and was not seen, one sentence each."""
        said = [fun.summary for fun in self.trained]
        said += [note for fun in self.trained for note in dict.fromkeys(fun.notes)]
        said += [f.course.lost for f in self.trained if f.course and f.course.lost]
        if self._was_disabled:
            said.append(
                "While jax.disable_jit was on, nothing was watched: there is no "
                "compiled step then."
            )
        elif self.eager:
            place, count = max(self.eager.items(), key=lambda item: item[1])
            total = sum(self.eager.values())
            said.append(
                f"{total:,} gradients were taken outside of any function under "
                f"jax.jit, {count:,} of them at {place}: those were not watched; put "
                "jax.jit around the training step."
            )
        return said

    def forget(self) -> None:
        """Watches nothing more: this is another process, which only looks like ours."""
        self._closed = True
        self.trained = []

    def close(self, status: Status) -> list[Course]:
        """Closes the courses; those that have a run to look at."""
        self._closed = True
        closed: list[Course] = []
        for fun in self.trained:
            assert fun.course is not None
            for sentence in dict.fromkeys(fun.notes):
                fun.course.note(sentence)
            if fun.course.close(status):
                closed.append(fun.course)
        return closed

    def _make(self, fun: Any, options: dict[str, Any]) -> Observed:
        compiled = self._jit(fun, **options)
        return Observed(fun, compiled, options, self._answer, self._meet)

    def _watched(self, fun: Any, options: dict[str, Any]) -> Any:
        measured = watch(fun, level=self._level)
        changed = dict(options)
        if changed.get("out_shardings") is not None:
            changed["out_shardings"] = (changed["out_shardings"], None)
        return self._jit(measured, **changed)

    def _answer(
        self,
        fun: Observed,
        bare: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Answers a call of the script."""
        disabled = jax.config.jax_disable_jit  # type: ignore[attr-defined]
        self._was_disabled |= disabled
        if self._closed or disabled or compat.is_tracing():
            return bare(*args, **kwargs)
        drawn = None if fun.met else self._meet(fun, args, kwargs)
        with self._within(fun):
            if not fun.trains:
                return bare(*args, **kwargs)
            return self._step(fun, bare, args, kwargs, drawn)

    def _meet(
        self, fun: Observed, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Callable[[], None]:
        """Traces a function; returns what sets random numbers back."""
        fun.met, drawn = True, random_state()
        # What it raises, the call itself will raise again.
        with self._within(fun), contextlib.suppress(Exception):
            fun.compiled.trace(*args, **kwargs)
        return drawn

    @contextlib.contextmanager
    def _within(self, fun: Observed) -> Iterator[None]:
        """Within it, this thread's gradients are those of a function."""
        before, self._inside.fun = getattr(self._inside, "fun", None), fun
        try:
            yield
        finally:
            self._inside.fun = before

    def _step(
        self,
        fun: Observed,
        bare: Callable[..., Any],
        args: Any,
        kwargs: Any,
        drawn: Callable[[], None] | None,
    ) -> Any:
        with self._lock:
            if fun.course is None:
                fun.course = self._course(fun.name)
                self.trained.append(fun)
                try:
                    fun.watched = self._watched(fun.fun, fun.options)
                except Exception as error:
                    fun.give_up(error)
            number, course = fun.calls, fun.course
            fun.calls += 1
        packed = None
        due = number % self._every == 0
        if due and fun.watched is not None:
            self._trace(fun, args, kwargs, drawn)
        if due and fun.watched is not None:
            result, packed = self._run_watched(fun, bare, args, kwargs)
        else:
            result = bare(*args, **kwargs)
        with self._lock:
            course.log(number, result, packed)
        return result

    def _trace(
        self, fun: Observed, args: Any, kwargs: Any, drawn: Callable[[], None] | None
    ) -> None:
        """Makes the watched program ready for such arguments, or gives it up."""
        kind = _kind((args, kwargs))
        try:
            if kind in fun.traced:
                return
            fun.traced.add(kind)
        except (TypeError, ValueError):  # what is static has no hash: JAX says so
            return
        with unseen(drawn) as told:
            try:
                fun.watched.trace(*args, **kwargs)
            except Exception as error:
                fun.give_up(error)
        for sentence in told:
            if "could not watch" in sentence:
                fun.watched = None
            fun.notes.append(sentence)

    def _run_watched(
        self, fun: Observed, bare: Callable[..., Any], args: Any, kwargs: Any
    ) -> tuple[Any, Any]:
        try:
            return fun.watched(*args, **kwargs)
        except Exception as error:
            arrays = [x for x in jax.tree.leaves((args, kwargs)) if _is_deleted(x)]
            if arrays:
                raise
            # If the fault is the script's own, it is raised again here.
            result = bare(*args, **kwargs)
            fun.give_up(error)
            return result, None

    def _witness(self) -> None:
        """A gradient is being taken."""
        fun = getattr(self._inside, "fun", None)
        if fun is not None:
            fun.trains = True
        elif not self._closed:
            place = _place()
            self.eager[place] = self.eager.get(place, 0) + 1


def _is_deleted(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and leaf.is_deleted()


def _kind(arguments: Any) -> Hashable:
    """What mostly decides whether JAX traces a function anew."""
    leaves, structure = jax.tree.flatten(arguments)
    return structure, tuple(map(_kind_of_leaf, leaves))


def _kind_of_leaf(leaf: Any) -> Hashable:
    if hasattr(leaf, "dtype"):
        return leaf.shape, leaf.dtype
    return leaf if isinstance(leaf, str | bool) else type(leaf)


def _place() -> str:
    """The line of the script that takes a gradient now."""
    frame = inspect.currentframe()
    while frame is not None:
        if not frame.f_code.co_filename.startswith((_HERE, _JAX)):
            return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        frame = frame.f_back
    return "an unknown line"
