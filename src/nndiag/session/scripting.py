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
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from nndiag.errors import NndiagError, ProgramError, TargetError
from nndiag.records import Autopsy
from nndiag.replay import LookFor, autopsy
from nndiag.session.wording import name_and_text


class _Found(BaseException):
    """Ends the script; no `except Exception` of its own catches it."""


class _Watch:
    """Replaces `jax.jit` while a script runs.

    Attributes:
        calls: calls of jitted functions so far, those within others not counted.
        found: what ended it, in whichever thread.
    """

    def __init__(self, look_for: LookFor) -> None:
        self.look_for: LookFor = look_for
        self.calls = 0
        self.found: Autopsy | None = None
        self._jit = jax.jit

    def jit(self, fun: Any = None, **options: Any) -> Any:
        """`jax.jit`, whose function is examined when it returns a NaN."""
        if fun is None:
            return functools.partial(self.jit, **options)
        # A donated argument would be gone when it is to be replayed.
        kept = {k: v for k, v in options.items() if not k.startswith("donate_")}
        return _Jitted(self, fun, self._jit(fun, **kept), kept)

    def examine(self, fun: Any, settings: set[str], args: Any, kwargs: Any) -> None:
        """Raises `_Found` if a replay finds what the call made."""
        bound = inspect.signature(fun).bind(*args, **kwargs)
        bound.apply_defaults()
        arrays = {
            name: value
            for name, value in bound.arguments.items()
            if name not in settings and _is_arrays(value)
        }

        def call(arguments: dict[str, Any]) -> Any:
            bound.arguments.update(arguments)
            return fun(*bound.args, **bound.kwargs)

        call.__name__ = getattr(fun, "__name__", "call")
        self.found = autopsy(call, arrays, look_for=self.look_for)
        if self.found is not None:
            raise _Found


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
        if any(isinstance(leaf, Tracer) for leaf in leaves):
            return result
        if not all(map(self._is_good, jax.tree.leaves(result))):
            self._watch.examine(self._fun, self._settings, args, kwargs)
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

    def _is_good(self, leaf: Any) -> bool:
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            return True
        bad = jnp.isnan if self._watch.look_for == "nan" else _is_not_finite
        return not bool(bad(leaf).any())


def run_until_bad(
    path: Path, arguments: list[str], look_for: LookFor
) -> tuple[int, Autopsy | None]:
    """Runs a script until a jitted call returns a NaN (or Inf) that a replay explains.

    Returns:
        The number of that call and its autopsy; the number of calls and `None` if there
        was none.

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
    return watch.calls, watch.found


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


def _is_not_finite(value: Any) -> Any:
    return ~jnp.isfinite(value)
