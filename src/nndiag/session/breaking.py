"""Runs a script until a function that it jitted returns a NaN or Inf."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer

from nndiag.errors import NndiagError, ProgramError, TargetError
from nndiag.records import Autopsy
from nndiag.replay import LookFor, autopsy
from nndiag.session.jitting import Jitted, replaced_jit
from nndiag.session.scripting import Script, line_of, play
from nndiag.session.wording import name_and_text


class _Found(BaseException):
    """Ends the script; no `except Exception` of its own catches it."""


class _Call(NamedTuple):
    """A call of a jitted function, ready to be replayed.

    Attributes:
        number: of the call, from 0.
        fun: the function under `jax.jit`.
        settings: names of its parameters that are no arrays.
        args: positional arguments.
        kwargs: keyword arguments.
    """

    number: int
    fun: Any
    settings: set[str]
    args: Any
    kwargs: Any

    def examine(self, look_for: LookFor) -> Autopsy | None:
        """The autopsy of the function at its arrays."""
        bound = inspect.signature(self.fun).bind(*self.args, **self.kwargs)
        bound.apply_defaults()
        arrays = {
            name: value
            for name, value in bound.arguments.items()
            if name not in self.settings and _is_arrays(value)
        }

        def call(arguments: dict[str, Any]) -> Any:
            bound.arguments.update(arguments)
            return self.fun(*bound.args, **bound.kwargs)

        call.__name__ = getattr(self.fun, "__name__", "call")
        return autopsy(call, arrays, look_for=look_for)


class _Watch:
    """Looks at what jitted functions return while a script runs.

    Attributes:
        calls: calls of jitted functions so far, those within others not counted.
        found: what ended it, in whichever thread, and the number of the call.
    """

    def __init__(self, look_for: LookFor) -> None:
        self.look_for: LookFor = look_for
        self.calls = 0
        self.found: tuple[int, Autopsy] | None = None
        self._examining = False
        self._infinite: _Call | None = None
        self._jit = jax.jit

    def jit(self, fun: Any, options: dict[str, Any]) -> Jitted:
        """`jax.jit`, whose function is examined when it returns a NaN."""
        # A donated argument would be gone when it is to be replayed.
        kept = {k: v for k, v in options.items() if not k.startswith("donate_")}
        settings = _static_names(fun, kept)

        def call(jitted: Jitted, args: Any, kwargs: Any) -> Any:
            result = jitted.compiled(*args, **kwargs)
            leaves = jax.tree.leaves((args, kwargs, result))
            if not self._examining and not any(isinstance(x, Tracer) for x in leaves):
                self._look_at(_Call(self.calls, fun, settings, args, kwargs), result)
                self.calls += 1
            return result

        return Jitted(fun, self._jit(fun, **kept), call)

    def _look_at(self, call: _Call, result: Any) -> None:
        """Raises `_Found` if a replay finds what the call made."""
        if not _holds(result, _is_not_finite):
            return
        if self.look_for == "nan" and not _holds(result, jnp.isnan):
            if not _holds((call.args, call.kwargs), _is_not_finite):
                # why: the script may write to its containers before they are needed
                args, kwargs = jax.tree.map(lambda leaf: leaf, call[3:])
                self._infinite = call._replace(args=args, kwargs=kwargs)
            return
        self._examining = True
        try:
            found = call.examine(self.look_for)
            if found is None:
                return
            self.found = self._before(found) or (call.number, found)
        finally:
            self._examining = False
        raise _Found

    def _before(self, found: Autopsy) -> tuple[int, Autopsy] | None:
        """The birth of an Inf that a call was given, if an earlier call made it."""
        given = found.primitive == "input" and found.kind == "inf"
        if not given or self._infinite is None:
            return None
        earlier = self._infinite.examine("any")
        if earlier is None or not earlier.reaches_output:
            return None
        return self._infinite.number, earlier


def run_until_bad(script: Script, look_for: LookFor) -> tuple[int, Autopsy | None]:
    """Runs a script until a jitted call returns a NaN (or Inf) that a replay explains.

    Returns:
        The number of that call and its autopsy, or those of the earlier call that made
        the Inf which it was given; the number of calls and `None` if there was none.

    Raises:
        TargetError: there is no such file, or it raises.
    """
    watch, hook = _Watch(look_for), threading.excepthook
    threading.excepthook = _quiet(hook)
    try:
        with replaced_jit(watch.jit):
            ending = play(script)
    except _Found:
        ending = None
    finally:
        threading.excepthook = hook
    if watch.found is not None:
        return watch.found
    if ending is not None and ending.error is not None:
        if isinstance(ending.error, NndiagError | KeyboardInterrupt):
            raise ending.error
        text = name_and_text(ending.error).rstrip(".")  # type: ignore[arg-type]
        where = line_of(ending.error, script)
        raise TargetError(f"{script.name} ended with {text}{where}") from ending.error
    if ending is not None and ending.code:
        raise TargetError(
            f"{script.name} ended with exit code {ending.code} before anything broke"
        )
    if watch.calls == 0:
        raise ProgramError(
            f"{script.name} calls no function made by jax.jit, so nothing was looked "
            "at; call nndiag.autopsy(fn, *args) in it instead"
        )
    return watch.calls, None


def _quiet(hook: Callable[..., Any]) -> Callable[..., Any]:
    """A thread that ended because something was found has nothing to tell."""

    def told(arguments: Any) -> None:
        if not issubclass(arguments.exc_type, _Found):
            hook(arguments)

    return told


def _static_names(fun: Callable[..., Any], options: dict[str, Any]) -> set[str]:
    """Names of the parameters that `jax.jit` takes as settings."""
    names = options.get("static_argnames") or ()
    numbers = options.get("static_argnums")
    numbers = () if numbers is None else numbers
    parameters = list(inspect.signature(fun).parameters)
    return {
        *((names,) if isinstance(names, str) else names),
        *(
            parameters[number]
            for number in ((numbers,) if isinstance(numbers, int) else numbers)
            if -len(parameters) <= number < len(parameters)
        ),
    }


def _is_arrays(value: Any) -> bool:
    return all(
        isinstance(leaf, jax.Array | float | int | complex) or hasattr(leaf, "dtype")
        for leaf in jax.tree.leaves(value)
    )


def _holds(values: Any, bad: Callable[[Any], Any]) -> bool:
    """Whether a floating array among the leaves has a bad element."""
    return any(
        bool(bad(leaf).any())
        for leaf in jax.tree.leaves(values)
        if _is_arrays(leaf) and jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
    )


def _is_not_finite(value: Any) -> Any:
    return ~jnp.isfinite(value)
