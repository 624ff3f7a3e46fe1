"""Arithmetic on x + ihv: how a complex step goes through a program.

Where f is analytic, f(x + ihv) = f(x) + ih·f′(x)v − …, so the imaginary part over h is
the derivative along v, without a difference in which digits would be lost (Squire and
Trapp, "Using complex variables to estimate derivatives of real functions", SIAM
Review 40, 1998). Comparisons, and what is made of them, look at real parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

Bind = Callable[[Any, Sequence[Any]], list[Any]]

ANALYTIC = frozenset(
    [
        "add",
        "add_any",
        "sub",
        "mul",
        "div",
        "neg",
        "dot_general",
        "square",
        "integer_pow",
        "pow",
        "sqrt",
        "rsqrt",
        "exp",
        "exp2",
        "log",
        "log1p",
        "logistic",
        "sin",
        "cos",
        "tan",
        "tanh",
        "asin",
        "acos",
        "atan",
        "asinh",
        "acosh",
        "atanh",
        "reduce_sum",
        "reduce_prod",
        "cumsum",
        "cumprod",
        "select_n",
        "broadcast_in_dim",
        "reshape",
        "transpose",
        "squeeze",
        "slice",
        "dynamic_slice",
        "gather",
        "dynamic_update_slice",
        "scatter",
        "scatter-add",
        "scatter-mul",
        "concatenate",
        "pad",
        "rev",
        "split",
        "copy",
        "copy_p",
        "reduce_precision",
        "convert_element_type",
        "optimization_barrier",
        "stop_gradient",
    ]
)
"""Primitives that take complex numbers, and whose imaginary part is the derivative."""

DECIDING = frozenset(
    [
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "is_finite",
        "sign",
        "floor",
        "ceil",
        "round",
        "argmax",
        "argmin",
        "eq_to",
        "le_to",
        "lt_to",
    ]
)
"""Primitives whose result does not move with their operands, but for jumps."""


class NotAnalyticError(Exception):
    """A primitive that a complex step cannot pass."""


def carries_step(operands: Sequence[Any]) -> bool:
    """Whether one of the operands of an equation between real arrays is complex."""
    return any(jnp.iscomplexobj(value) for value in operands)


def lifted(value: Any) -> Any:
    """A float as a complex number, anything else as it is."""
    is_float = jnp.issubdtype(value.dtype, jnp.floating)
    return value.astype(jnp.complex128) if is_float else value


def outputs(equation: Any, operands: Sequence[Any], bind: Bind) -> list[Any]:
    """What an equation makes of operands of which one carries a step.

    Args:
        equation: without a body.
        operands: in float64 or complex128, or of no floating type.
        bind: evaluates the equation on operands of one floating type.

    Raises:
        NotAnalyticError: this primitive lets no complex step through.
    """
    name, params = equation.primitive.name, equation.params
    if name in _BY_PARTS:
        return [_BY_PARTS[name](*operands, **params)]
    if name in DECIDING or not _is_floating(equation):
        return bind(equation, [_real(value) for value in operands])
    if name in _CANCELLING:
        real, step = _parts(operands[0])
        return [bind(equation, [real])[0] + 1j * _CANCELLING[name](real) * step]
    if name == "conv_general_dilated":
        # XLA's complex one loses short steps among sums of both parts.
        (real, step), (kernel, kernel_step) = map(_parts, operands)
        straight = bind(equation, [real, kernel])[0]
        moved = (
            bind(equation, [step, kernel])[0] + bind(equation, [real, kernel_step])[0]
        )
        return [straight + 1j * moved]
    if name in ANALYTIC:
        return bind(equation, [lifted(value) for value in operands])
    raise NotAnalyticError(name)


def _real(value: Any) -> Any:
    return jnp.real(value) if jnp.iscomplexobj(value) else value


def _parts(value: Any) -> tuple[Any, Any]:
    return jnp.real(value), jnp.imag(value)


def _is_floating(equation: Any) -> bool:
    return any(jnp.issubdtype(v.aval.dtype, jnp.floating) for v in equation.outvars)


def _max(first: Any, second: Any) -> Any:
    return jnp.where(jnp.real(first) >= jnp.real(second), first, second)


def _min(first: Any, second: Any) -> Any:
    return jnp.where(jnp.real(first) <= jnp.real(second), first, second)


def _abs(value: Any) -> Any:
    return jnp.where(jnp.real(value) < 0, -value, value)


def _clamp(low: Any, value: Any, high: Any) -> Any:
    return _min(_max(value, low), high)


def _reduce_max(value: Any, *, axes: Sequence[int], **_: Any) -> Any:
    real = jnp.real(value)
    largest = real == real.max(tuple(axes), keepdims=True)
    return jnp.mean(value, tuple(axes), where=largest)


def _reduce_min(value: Any, *, axes: Sequence[int], **_: Any) -> Any:
    return -_reduce_max(-value, axes=axes)


_CANCELLING = {"expm1": jnp.exp, "cosh": jnp.sinh, "sinh": jnp.cosh}
"""Functions whose complex form loses digits in XLA, and what their step is times."""

_BY_PARTS: dict[str, Callable[..., Any]] = {
    "max": _max,
    "min": _min,
    "abs": _abs,
    "clamp": _clamp,
    "reduce_max": _reduce_max,
    "reduce_min": _reduce_min,
}
