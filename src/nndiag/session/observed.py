"""A jitted function of a script, as the script sees it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nndiag.session.jitting import Jitted
from nndiag.session.wording import name_and_text

if TYPE_CHECKING:
    from nndiag.session.course import Course

Answer = Callable[
    ["Observed", Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any
]
"""Answers a call: given the function, its bare program, and the arguments."""

Meet = Callable[["Observed", tuple[Any, ...], dict[str, Any]], Any]
"""Traces a function at arguments, to see whether it takes a gradient."""


class Observed(Jitted):
    """A jitted function of the script.

    Attributes:
        options: those of `jax.jit`.
        met: whether it has been called.
        trains: whether a gradient was taken in it.
        calls: how often it was called since it trains.
        course: its steps.
        watched: the compiled function that also returns readings, `None` if it has
            none, and runs bare.
        traced: the kinds of arguments that the watched program is ready for.
        notes: what people must know of its readings.
    """

    def __init__(
        self,
        fun: Any,
        compiled: Any,
        options: dict[str, Any],
        answer: Answer,
        meet: Meet,
    ) -> None:
        def call(_: Jitted, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return answer(self, self.compiled, args, kwargs)

        super().__init__(fun, compiled, call)
        self.options = options
        self.met = self.trains = False
        self.calls = 0
        self.course: Course | None = None
        self.watched: Any = None
        self.traced: set[Hashable] = set()
        self.notes: list[str] = []
        self._answer, self._meet = answer, meet

    def lower(self, *args: Any, **kwargs: Any) -> Any:
        """What `jax.jit(fun).lower` returns; what it compiles is watched as well."""
        self._meet(self, args, kwargs)
        lowered = self.compiled.lower(*args, **kwargs)
        # Compiled ahead of time, a function takes no static arguments any more.
        static = [name for name in self.options if name.startswith("static_")]
        return lowered if static else _Lowered(self, lowered, self._answer)

    def give_up(self, error: Exception) -> None:
        """Runs it bare from now on."""
        self.watched = None
        self.notes.append(f"{self.place} runs unwatched: {name_and_text(error)}")

    @property
    def name(self) -> str:
        """What the script calls it."""
        return getattr(self.fun, "__name__", type(self.fun).__name__)

    @property
    def place(self) -> str:
        """Its name and line."""
        code = getattr(self.fun, "__code__", None)
        if code is None:
            return self.name
        return f"{self.name} ({Path(code.co_filename).name}:{code.co_firstlineno})"

    @property
    def summary(self) -> str:
        """What was seen of it, in a sentence."""
        recorded = 0 if self.course is None else self.course.recorded
        return (
            f"{self.place} was called {self.calls:,} times; {recorded:,} of the calls "
            "were recorded."
        )


class _Lowered:
    """A lowered function, which `compile` makes callable."""

    def __init__(self, fun: Observed, lowered: Any, answer: Answer) -> None:
        self._fun, self._lowered, self._answer = fun, lowered, answer

    def compile(self, *args: Any, **kwargs: Any) -> Any:
        """The compiled function, under watch."""
        return _Compiled(
            self._fun, self._lowered.compile(*args, **kwargs), self._answer
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lowered, name)


class _Compiled:
    """A function compiled ahead of time."""

    def __init__(self, fun: Observed, compiled: Any, answer: Answer) -> None:
        self._fun, self._bare, self._answer = fun, compiled, answer

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._answer(self._fun, self._bare, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bare, name)
