"""Runs an unmodified script, looking at what its jitted functions return."""

from __future__ import annotations

import functools
import inspect
import runpy
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer

from nndiag.errors import NndiagError, ProgramError, TargetError
from nndiag.records import Autopsy
from nndiag.replay import LookFor, autopsy
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
    """Replaces `jax.jit` while a script runs.

    Attributes:
        calls: calls of jitted functions so far, those within others not counted.
        found: what ended it, in whichever thread, and the number of the call.
        examining: whether a replay is under way, whose calls are none of the script's.
    """

    def __init__(self, look_for: LookFor) -> None:
        self.look_for: LookFor = look_for
        self.calls = 0
        self.found: tuple[int, Autopsy] | None = None
        self.examining = False
        self._infinite: _Call | None = None
        self._jit = jax.jit

    def jit(self, fun: Any = None, **options: Any) -> Any:
        """`jax.jit`, whose function is examined when it returns a NaN."""
        if fun is None:
            return functools.partial(self.jit, **options)
        # A donated argument would be gone when it is to be replayed.
        kept = {k: v for k, v in options.items() if not k.startswith("donate_")}
        return _Jitted(self, fun, self._jit(fun, **kept), kept)

    def look_at(self, call: _Call, result: Any) -> None:
        """Raises `_Found` if a replay finds what the call made."""
        if not _holds(result, _is_not_finite):
            return
        if self.look_for == "nan" and not _holds(result, jnp.isnan):
            if not _holds((call.args, call.kwargs), _is_not_finite):
                # why: the script may write to its containers before they are needed
                args, kwargs = jax.tree.map(lambda leaf: leaf, call[3:])
                self._infinite = call._replace(args=args, kwargs=kwargs)
            return
        self.examining = True
        try:
            found = call.examine(self.look_for)
            if found is None:
                return
            self.found = self._before(found) or (call.number, found)
        finally:
            self.examining = False
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


class _Jitted:
    """A jitted function under watch; like one in every other respect."""

    def __init__(
        self, watch: _Watch, fun: Any, jitted: Any, options: dict[str, Any]
    ) -> None:
        functools.update_wrapper(self, fun)
        self._watch, self._fun, self._jitted = watch, fun, jitted
        self._settings = _static_names(fun, options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self._jitted(*args, **kwargs)
        leaves = jax.tree.leaves((args, kwargs, result))
        traced = any(isinstance(leaf, Tracer) for leaf in leaves)
        if traced or self._watch.examining:
            return result
        number = self._watch.calls
        call = _Call(number, self._fun, self._settings, args, kwargs)
        self._watch.look_at(call, result)
        self._watch.calls += 1
        return result

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __getattr__(self, name: str) -> Any:
        if name == "_jitted":  # not there yet: it is being copied
            raise AttributeError(name)
        return getattr(self._jitted, name)

    def __deepcopy__(self, memo: Any) -> _Jitted:
        return self


def run_until_bad(
    path: Path, arguments: list[str], look_for: LookFor
) -> tuple[int, Autopsy | None]:
    """Runs a script until a jitted call returns a NaN (or Inf) that a replay explains.

    Returns:
        The number of that call and its autopsy, or those of the earlier call that made
        the Inf which it was given; the number of calls and `None` if there was none.

    Raises:
        TargetError: there is no such file, or it raises.
    """
    if not path.is_file():
        raise TargetError(f"there is no file {path}")
    watch = _Watch(look_for)
    code: Any = None
    before = sys.argv, sys.path[:], threading.excepthook
    sys.argv = [str(path), *arguments]
    sys.path.insert(0, str(path.parent.resolve()))
    jax.jit = watch.jit  # type: ignore[assignment]
    threading.excepthook = _quiet(threading.excepthook)
    try:
        runpy.run_path(str(path), run_name="__main__")
    except _Found:
        pass
    except SystemExit as end:
        code = end.code
    except NndiagError:
        raise
    except Exception as error:
        text = name_and_text(error).rstrip(".")
        raise TargetError(f"{path} ended with {text}{_where(error, path)}") from error
    finally:
        jax.jit = watch._jit
        sys.argv, sys.path[:], threading.excepthook = before
    if watch.found is None and code not in (None, 0):
        raise TargetError(f"{path} ended with exit code {code} before anything broke")
    if watch.found is None and watch.calls == 0:
        raise ProgramError(
            f"{path} calls no function made by jax.jit, so nothing was looked at; "
            "call nndiag.autopsy(fn, *args) in it instead"
        )
    return (watch.calls, None) if watch.found is None else watch.found


def _where(error: Exception, path: Path) -> str:
    """The last line of the script on the way to the error."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).name == path.name]
    return f", at line {own[-1].lineno} ({own[-1].line})" if own else ""


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
