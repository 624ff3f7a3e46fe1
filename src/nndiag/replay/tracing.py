"""From the user's function and arguments to a program that can be replayed."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from nndiag.errors import ProgramError
from nndiag.jaxprs import compat
from nndiag.jaxprs.arguments import named_leaves
from nndiag.replay.detection import is_float

_CLOSE_OVER = (
    "close over it: nndiag.autopsy(functools.partial(fn, name=value), *arrays)"
)
_NEEDS_VALUE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)
_ARRAY = jax.Array | np.ndarray | np.generic | complex | float | int
_HERE = str(Path(__file__).parents[1])
_JAX = str(Path(inspect.getfile(jax)).parent)


class Program(NamedTuple):
    """A traced function with the arguments to replay it at.

    Attributes:
        jaxpr: closed, without prints and debug callbacks.
        leaves: the arrays that go in.
        arguments: the path of each, by parameter name (`"params['w']"`).
        outputs: the path of each output (`"[0]['w']"`).
    """

    jaxpr: Any
    leaves: list[Any]
    arguments: list[str]
    outputs: list[str]


def trace(
    fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Program:
    """Traces `fn` at the arguments.

    Raises:
        ProgramError: an argument is no array, `fn` cannot be traced or raises,
            has no float anywhere, or reads the result of an `io_callback`.
    """
    if not callable(fn):
        raise ProgramError(
            f"autopsy needs a function, not {type(fn).__name__}; pass the function "
            "and then its arguments: nndiag.autopsy(fn, *args)"
        )
    named = named_leaves(fn, args, kwargs)
    for name, leaf in named:
        _require_array(name, leaf)

    def call(*args: Any, **kwargs: Any) -> Any:
        result = fn(*args, **kwargs)
        _require_arrays(fn, result)
        return result

    try:
        with compat.lines_of_rules():
            traced, shapes = jax.make_jaxpr(call, return_shape=True)(*args, **kwargs)
    except ProgramError:
        raise
    except Exception as error:
        raise _explained(fn, error) from None
    try:
        jaxpr = compat.silence(traced)
    except LookupError:
        raise ProgramError(
            "the function uses what an io_callback returns, and a replay must not "
            "repeat such a side effect; pass that value in as an argument"
        ) from None
    inner = compat.open_jaxpr(jaxpr)
    if not _has_float(inner):
        raise ProgramError(
            "the function has no float anywhere, so it cannot make a NaN or Inf; "
            f"its outputs are {', '.join(v.aval.str_short() for v in inner.outvars)}"
        )
    leaves = [
        compat.strong(leaf, variable.aval)
        for (_, leaf), variable in zip(named, inner.invars, strict=True)
    ]
    outputs = [
        jax.tree_util.keystr(path)
        for path, _ in jax.tree_util.tree_flatten_with_path(shapes)[0]
    ]
    return Program(jaxpr, leaves, [name for name, _ in named], outputs)


def _require_array(name: str, leaf: Any) -> None:
    if isinstance(leaf, jax.Array) and leaf.is_deleted():
        raise ProgramError(
            f"argument {name} was donated to an earlier call and deleted; "
            "pass a copy that was made before that call"
        )
    if not isinstance(leaf, _ARRAY):
        raise ProgramError(
            f"argument {name} is a {type(leaf).__name__}, not an array; {_CLOSE_OVER}"
        )


def _require_arrays(fn: Any, result: Any) -> None:
    """What a function returns must be arrays; one not yet run is closed."""
    if inspect.iscoroutine(result) or inspect.isgenerator(result):
        result.close()
        leaves: list[Any] = [((), result)]
    else:
        leaves = jax.tree_util.tree_flatten_with_path(result)[0]
    for path, leaf in leaves:
        if not isinstance(leaf, _ARRAY):
            place = f" in output{jax.tree_util.keystr(path)}" if path else ""
            raise ProgramError(
                f"{_name(fn)} returns a {type(leaf).__name__}{place}, not arrays; "
                "wrap it in a function that returns the arrays to look at"
            )


def _name(fn: Any) -> str:
    return getattr(fn, "__name__", type(fn).__name__)


def _has_float(jaxpr: Any) -> bool:
    variables = [*jaxpr.invars, *jaxpr.constvars]
    variables += [out for equation in jaxpr.eqns for out in equation.outvars]
    return any(is_float(variable.aval) for variable in variables) or any(
        _has_float(body)
        for equation in jaxpr.eqns
        for body in compat.jaxprs_in(equation)
    )


def _explained(fn: Any, error: Exception) -> ProgramError:
    """What the user's function raised, in one sentence."""
    name = _name(fn)
    text = str(error).strip().splitlines() or [""]
    where = next(
        (
            f" at {Path(frame.filename).name}:{frame.lineno}"
            for frame in reversed(traceback.extract_tb(error.__traceback__))
            if not frame.filename.startswith((_HERE, _JAX))
        ),
        "",
    )
    if isinstance(error, _NEEDS_VALUE) or "concrete value" in str(error):
        return ProgramError(
            f"{name} needs the value of an argument while it is traced{where} "
            f"({text[0]}); if that argument is a setting, {_CLOSE_OVER}"
        )
    if "static arguments" in str(error):
        return ProgramError(
            f"{name} has static arguments, and autopsy takes every argument as an "
            f"array; {_CLOSE_OVER}"
        )
    return ProgramError(
        f"{name} raised {type(error).__name__}{where} before anything was computed: "
        f"{text[0]}"
    )
