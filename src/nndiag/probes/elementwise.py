"""What an elementwise piece of a program computes, as a function of one number.

The pieces are evaluated in float64 NumPy on a fixed grid, so that an activation is
recognised by what it computes and not by how it is written or named: `1/(1+exp(-x))`,
`jax.nn.sigmoid` and a `custom_vjp` around either are the same curve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.core import Tracer
from numpy.typing import NDArray

from nndiag.jaxprs import compat

Curve = NDArray[Any]
"""Values of a function on `GRID`."""

GRID: Curve = np.concatenate([np.linspace(-9, 9, 37), [-30.0, 30.0]])
"""The arguments at which curves are compared."""


def _vectorised(function: Callable[[float], float]) -> Callable[[Curve], Curve]:
    return np.vectorize(function, otypes=[np.float64])


def _select(which: Curve, no: Curve, yes: Curve) -> Curve:
    return np.where(which != 0, yes, no)


def _logistic(x: Curve) -> Curve:
    return 0.5 * (1 + np.tanh(0.5 * x))


_FUNCTIONS: dict[str, Callable[..., Curve]] = {
    "abs": np.abs,
    "add": np.add,
    "add_any": np.add,
    "and": np.logical_and,
    "asinh": np.arcsinh,
    "atan": np.arctan,
    "cbrt": np.cbrt,
    "clamp": lambda low, x, high: np.clip(x, low, high),
    "copy": np.positive,
    "pvary": np.positive,
    "cos": np.cos,
    "cosh": np.cosh,
    "div": np.divide,
    "eq": np.equal,
    "erf": _vectorised(math.erf),
    "erfc": _vectorised(math.erfc),
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "ge": np.greater_equal,
    "gt": np.greater,
    "is_finite": np.isfinite,
    "le": np.less_equal,
    "log": np.log,
    "log1p": np.log1p,
    "logistic": _logistic,
    "lt": np.less,
    "max": np.maximum,
    "min": np.minimum,
    "mul": np.multiply,
    "ne": np.not_equal,
    "neg": np.negative,
    "not": np.logical_not,
    "or": np.logical_or,
    "pow": np.power,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "select_n": _select,
    "sign": np.sign,
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "square": np.square,
    "stop_gradient": np.positive,
    "sub": np.subtract,
    "tanh": np.tanh,
}
_RESHAPING = {"broadcast_in_dim", "reshape", "convert_element_type"}
_CALLS = {
    "jit": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}


def body_of_call(equation: Any) -> Any | None:
    """The jaxpr that a call-like equation evaluates once, else `None`."""
    name = _CALLS.get(equation.primitive.name)
    return equation.params[name] if name else None


def evaluate(equation: Any, curves: Sequence[Curve]) -> list[Curve] | None:
    """The curves that `equation` makes of `curves`.

    Args:
        equation: an equation of a jaxpr.
        curves: its operands, each of the shape of `GRID`.

    Returns:
        Its outputs as curves, or `None` if it is not elementwise.
    """
    name = equation.primitive.name
    if name in _RESHAPING:
        before, after = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
        level = before in ((), after) or (curves[0] == curves[0][0]).all()
        return [curves[0]] if level else None
    if name == "select_n" and len(curves) != 3:
        return None
    if name == "integer_pow":
        return [curves[0] ** equation.params["y"]]
    if name in _FUNCTIONS:
        with np.errstate(all="ignore"):
            return [np.asarray(_FUNCTIONS[name](*curves))]
    body = body_of_call(equation)
    return None if body is None else _evaluate_body(body, curves)


def _evaluate_body(jaxpr: Any, curves: Sequence[Curve]) -> list[Curve] | None:
    body = compat.open_jaxpr(jaxpr)
    known: dict[Any, Curve] = dict(zip(body.invars, curves, strict=True))
    for variable, constant in zip(body.constvars, compat.constants(jaxpr), strict=True):
        curve = constant_curve(constant)
        if curve is None:
            return None
        known[variable] = curve
    for equation in body.eqns:
        operands = _read_all(equation.invars, known)
        outputs = None if operands is None else evaluate(equation, operands)
        if outputs is None:
            return None
        known.update(zip(equation.outvars, outputs, strict=True))
    return _read_all(body.outvars, known)


def _read_all(atoms: Sequence[Any], known: dict[Any, Curve]) -> list[Curve] | None:
    """The curves of operands, `None` unless all are known."""
    curves = [
        constant_curve(atom.val) if compat.is_literal(atom) else known.get(atom)
        for atom in atoms
    ]
    complete = [curve for curve in curves if curve is not None]
    return complete if len(complete) == len(curves) else None


def constant_curve(value: Any) -> Curve | None:
    """A constant as a curve, or `None` if it is not the same number everywhere."""
    if isinstance(value, Tracer) or np.ndim(value) != 0:
        return None
    return np.full(GRID.shape, np.asarray(value))
