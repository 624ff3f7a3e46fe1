"""Who wrote the derivative rule of a `custom_jvp_call` or `custom_vjp_call`."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from jax._src import linear_util as _linear_util

from nndiag.jaxprs.compat.equations import Equation, open_jaxpr
from nndiag.jaxprs.compat.origins import _JAX

_RULES = {"custom_vjp_call": "bwd", "custom_jvp_call": "jvp_jaxpr_fun"}
_PLACE = re.compile(r"(?P<name>.*?) at (?P<file>.*):(?P<line>\d+)", re.DOTALL)
_LIBRARY = re.compile(r"[\\/]site-packages[\\/](optax|flax|equinox|haiku)[\\/]")
_CALL = "__call__"
_DEPTH = 8


class RuleSource(NamedTuple):
    """Where a derivative rule was written.

    Attributes:
        function: name of the function whose derivative it is, ``""`` if unknown.
        operands: names of the arguments, empty if unknown.
        file: full name of the file of the rule, ``""`` if unknown.
        line: first line of the rule, 0 if unknown.
        of_library: whether JAX or a layer library wrote it.
    """

    function: str
    operands: tuple[str, ...]
    file: str
    line: int
    of_library: bool


def rule_source(equation: Equation, operand: int = 0) -> RuleSource:
    """Where the rule of `equation` was written; with `defjvps`, that of `operand`."""
    function = open_jaxpr(equation.params["call_jaxpr"]).debug_info
    rule = equation.params[_RULES[equation.primitive.name]]
    # JAX knows the names of the arguments from the forward function of a `custom_vjp`.
    forward = equation.params.get("fwd_jaxpr_thunk")
    about = function if forward is None else forward.debug_info
    name, _, _ = _parse(function.func_src_info)
    _, file, line = _parse(rule.debug_info.func_src_info)
    if not file or _of_library(file):
        # `defjvps` and `custom_gradient` wrap the user's functions in JAX's own.
        own = next(_written_by_users([rule, forward], operand), None)
        if own is not None:
            file, line = own.co_filename, own.co_firstlineno
            name = own.co_name if name == "wrapped_fun" else name
    operands = tuple(about.arg_names or ())
    return RuleSource(name, operands, file, line, _of_library(file))


def _of_library(file: str) -> bool:
    return file.startswith(_JAX) or bool(_LIBRARY.search(file))


def _parse(place: str | None) -> tuple[str, str, int]:
    match = _PLACE.match(place or "")
    return (match["name"], match["file"], int(match["line"])) if match else ("", "", 0)


def _written_by_users(held: list[Any], operand: int) -> Iterator[Any]:
    """Code of the functions that `held` are or close over, those of libraries apart."""
    seen = set[int]()
    for _ in range(_DEPTH):
        found: list[Any] = []
        for value in held:
            if id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, _linear_util.WrappedFun):
                found.append(value.f)
            elif isinstance(value, functools.partial):
                found.append(value.func)
            elif isinstance(value, tuple | list):
                found.extend(value[operand : operand + 1] or value)
                found.extend(value)
            elif inspect.isfunction(value):
                if not _of_library(value.__code__.co_filename):
                    yield value.__code__
                found.extend(_enclosed(value))
            elif inspect.isfunction(call := getattr(type(value), _CALL, None)):
                found.append(call)
        held = found


def _enclosed(function: Any) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # the cell is still empty
            continue
