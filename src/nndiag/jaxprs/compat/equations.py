"""Reading, evaluating and rebuilding the equations of a jaxpr."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax._src import named_sharding as _shardings
from jax._src import source_info_util as _source_info

Equation = Any
Jaxpr = Any
"""An open or closed jaxpr: JAX 0.12 has one class for both."""


def open_jaxpr(jaxpr: Jaxpr) -> Jaxpr:
    """The jaxpr without its constants; a jaxpr that has none is returned as it is."""
    return getattr(jaxpr, "jaxpr", jaxpr)


def constants(jaxpr: Jaxpr) -> Sequence[Any]:
    """The constants of a closed jaxpr, empty for an open one."""
    return getattr(jaxpr, "consts", ())


def is_jaxpr(value: object) -> bool:
    """Whether a parameter of an equation is a (closed or open) jaxpr."""
    return hasattr(value, "eqns") and hasattr(value, "outvars")


def jaxprs_in(equation: Equation) -> Iterator[Jaxpr]:
    """The open jaxprs among the parameters of an equation."""
    for value in equation.params.values():
        for held in value if isinstance(value, tuple | list) else (value,):
            if is_jaxpr(held):
                yield open_jaxpr(held)


def like(jaxpr: Jaxpr, closed: Jaxpr) -> Jaxpr:
    """`closed`, in the form (open or closed) that `jaxpr` had in its equation."""
    if hasattr(jaxpr, "jaxpr"):
        return closed
    if constants(closed):
        raise ValueError("an open jaxpr cannot hold constants")
    return open_jaxpr(closed)


def is_literal(atom: Any) -> bool:
    """Whether an operand of an equation is a literal and not a variable."""
    return hasattr(atom, "val")


def literal(atom: Any) -> Any:
    """The value of a literal, in the dtype it has in the program."""
    dtype = atom.aval.dtype
    return np.asarray(atom.val, dtype) if isinstance(dtype, np.dtype) else atom.val


def strong(value: Any, aval: Any) -> Any:
    """`value` as an array of exactly the type `aval`, no weak type."""
    if not isinstance(aval.dtype, np.dtype):
        return value
    return jax.lax.convert_element_type(value, aval.dtype)


def bind(equation: Equation, operands: Sequence[Any], **changes: Any) -> list[Any]:
    """Evaluates one equation on `operands`, keeping its scope and source line.

    Args:
        equation: the equation.
        operands: one value per input of the equation.
        **changes: parameters to bind with other values.

    Returns:
        The outputs, always as a list.
    """
    parameters = equation.primitive.get_bind_params({**equation.params, **changes})
    with source(equation), equation.ctx.manager:
        outputs = equation.primitive.bind(*operands, **parameters)
    return list(outputs) if equation.primitive.multiple_results else [outputs]


def source(equation: Equation) -> contextlib.AbstractContextManager[None]:
    """Under it, new equations carry the scope and source line of `equation`."""
    info = equation.source_info
    stack = _source_info.current_name_stack() + info.name_stack
    return _source_info.user_context(info.traceback, name_stack=stack)


def scan_split(equation: Equation) -> tuple[int, int]:
    """Number of constants and of carried values among the inputs of a scan."""
    if "ft_in" in equation.params:
        constants, carry, _ = equation.params["ft_in"].unpack()
        return len(constants), len(carry)
    return equation.params["num_consts"], equation.params["num_carry"]


def jit_options(equation: Equation, *, donate: bool) -> dict[str, Any]:
    """Options of `jax.jit` for a function in place of the body of a `jit` equation.

    It takes the operands one by one, and returns a list of the outputs, and more.
    """
    params = equation.params
    options: dict[str, Any] = {"keep_unused": params["keep_unused"]}
    for name in ("in_shardings", "out_shardings"):
        given = [None if _is_open(one) else one for one in params[name]]
        if any(one is not None for one in given):
            options[name] = tuple(given) if name == "in_shardings" else (given, None)
    if donate and any(params["donated_invars"]):
        donated = enumerate(params["donated_invars"])
        options["donate_argnums"] = tuple(i for i, given in donated if given)
    return options


def _is_open(sharding: Any) -> bool:
    return isinstance(sharding, _shardings.UnspecifiedValue)


def trace(fun: Callable[..., Any], *arguments: Any) -> Jaxpr:
    """The closed jaxpr of `fun` at the shapes of `arguments`.

    Unlike a call of a cached `jax.jit`, this always runs `fun`.
    """
    return jax.make_jaxpr(lambda *values: fun(*values))(*arguments)


def struct(aval: Any) -> jax.ShapeDtypeStruct:
    """The type of an atom of a jaxpr, to trace with: also how it is sharded."""
    further = {"manual_axis_type": kind} if (kind := getattr(aval, "mat", None)) else {}
    return jax.ShapeDtypeStruct(
        aval.shape,
        aval.dtype,
        weak_type=getattr(aval, "weak_type", False),
        sharding=getattr(aval, "sharding", None),
        **further,
    )


def retrace(jaxpr: Jaxpr, fun: Callable[..., list[Any]]) -> Jaxpr:
    """The jaxpr of `fun` at the input types of `jaxpr`, in the form `jaxpr` has."""
    inputs = [struct(variable.aval) for variable in open_jaxpr(jaxpr).invars]
    return like(jaxpr, trace(fun, *inputs))
