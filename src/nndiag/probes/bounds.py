"""What the program alone says of its values: bounds that hold whatever the data are.

Interval arithmetic over the equations. `exp(x - max x)` is at most 1 and its sum at
least 1, `var + 1e-5` is at least 1e-5, a relu is not negative: such values are not at
risk, and need not be watched. Rounding is left out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

_INF = math.inf
_tokens = itertools.count(1)


class Bound(NamedTuple):
    """What is known of a value.

    Attributes:
        low: no element is smaller.
        high: no element is larger.
        trained: the gradient flows through it.
        token: equal for what is the same array.
        maximum: it is the maximum of the array with this token, over these axes.
        peak: over these axes, one element of each slice is `high`.
    """

    low: float = -_INF
    high: float = _INF
    trained: bool = False
    token: int = 0
    maximum: tuple[int, tuple[int, ...]] | None = None
    peak: tuple[int, ...] | None = None


def unknown(atom: Any, trained: bool = False) -> Bound:
    """The bound on a variable by its type alone."""
    low, high, dtype = -_INF, _INF, atom.aval.dtype
    if jnp.issubdtype(dtype, jnp.bool_):
        low, high = 0.0, 1.0
    elif jnp.issubdtype(dtype, jnp.integer):
        limits = jnp.iinfo(dtype)
        low, high = float(limits.min), float(limits.max)
    return Bound(low, high, trained, next(_tokens))


def constant(atom: Any) -> Bound:
    """The bound on a literal."""
    value = np.asarray(atom.val)
    if value.dtype.kind not in "biuf" or not value.size:
        return unknown(atom)
    return Bound(float(value.min()), float(value.max()), token=next(_tokens))


def element(bound: Bound) -> Bound:
    """The bound on a part of an array that is bound by `bound`."""
    return Bound(bound.low, bound.high, bound.trained, next(_tokens))


def follow(equation: Any, operands: Sequence[Bound]) -> list[Bound]:
    """The bounds on the outputs of one equation without bodies."""
    trained = any(bound.trained for bound in operands)
    name, outputs = equation.primitive.name, equation.outvars
    result = [
        unknown(v, trained and jnp.issubdtype(v.aval.dtype, jnp.inexact))
        for v in outputs
    ]
    if len(outputs) != 1 or not operands:
        return result
    (bound,) = result
    if name in _SAME:
        carried = [b.maximum for b in operands if b.maximum is not None]
        if name in _SAME_ARRAY:
            bound = bound._replace(token=operands[0].token, peak=operands[0].peak)
        bound = bound._replace(
            trained=bound.trained and name != "stop_gradient",
            maximum=carried[0] if carried else None,
        )
    interval = _interval(name, equation, operands)
    if interval is not None and not any(map(math.isnan, interval)):
        bound = bound._replace(low=interval[0], high=interval[1])
    return [_shifted(name, equation, operands, bound)]


def _shifted(
    name: str, equation: Any, operands: Sequence[Bound], bound: Bound
) -> Bound:
    """What follows from subtracting the maximum, as a stable softmax does."""
    first = operands[0]
    if name == "reduce_max":
        return bound._replace(maximum=(first.token, equation.params["axes"]))
    if name == "sub" and operands[1].maximum is not None:
        token, axes = operands[1].maximum
        if token == first.token:
            return bound._replace(high=0.0, peak=axes)
    if name in ("exp", "convert_element_type"):
        return bound._replace(peak=first.peak)
    if name == "reduce_sum" and first.peak is not None and first.low >= 0:
        whole = set(first.peak) <= set(equation.params["axes"])
        return bound._replace(low=max(bound.low, first.high)) if whole else bound
    return bound


_SAME_ARRAY = {"stop_gradient", "copy", "pvary", "reduce_precision", "nndiag_mark"}
_SAME = _SAME_ARRAY | {
    "broadcast_in_dim", "reshape", "squeeze", "expand_dims", "select_n", "max",
    "convert_element_type",
}  # fmt: skip
"""Operations through which a maximum of something stays one."""

_ELEMENTS = _SAME_ARRAY | {
    "broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose", "rev",
    "slice", "dynamic_slice", "gather", "reduce_max", "reduce_min", "cummax", "cummin",
    "sort", "convert_element_type",
}  # fmt: skip
"""Operations whose elements are elements of their first operand."""

_BETWEEN: dict[str, tuple[float, float]] = {
    "tanh": (-1, 1), "logistic": (0, 1), "erf": (-1, 1), "sin": (-1, 1),
    "cos": (-1, 1), "sign": (-1, 1), "erfc": (0, 2), "random_bits": (0, _INF),
}  # fmt: skip

_RISING: dict[str, Callable[[float], float]] = {
    "exp": lambda x: _exp(x),
    "exp2": lambda x: _exp(x * math.log(2)),
    "expm1": lambda x: _exp(x) - 1,
    "log": lambda x: math.log(x) if 0 < x < _INF else (_INF if x > 0 else -_INF),
    "log1p": lambda x: math.log1p(x) if -1 < x < _INF else (_INF if x > 0 else -_INF),
    "sqrt": lambda x: math.sqrt(max(x, 0)),
}


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else _INF


def _interval(
    name: str, equation: Any, operands: Sequence[Bound]
) -> tuple[float, float] | None:
    first = operands[0]
    if name in _ELEMENTS:
        return first.low, first.high
    if name in _BETWEEN:
        return _BETWEEN[name]
    if name in _RISING:
        return _RISING[name](first.low), _RISING[name](first.high)
    same = len(operands) == 2 and first.token == operands[1].token
    match name:
        case "max":
            lows, highs = zip(*((b.low, b.high) for b in operands), strict=True)
            return max(lows), max(highs)
        case "min":
            lows, highs = zip(*((b.low, b.high) for b in operands), strict=True)
            return min(lows), min(highs)
        case "clamp":
            low, value, high = operands
            return (
                min(max(value.low, low.low), high.low),
                max(min(value.high, high.high), low.high),
            )
        case "select_n" | "concatenate" | "pad":
            cases = operands[1:] if name == "select_n" else operands
            return min(b.low for b in cases), max(b.high for b in cases)
        case "neg":
            return -first.high, -first.low
        case "add" | "add_any":
            return first.low + operands[1].low, first.high + operands[1].high
        case "sub":
            return first.low - operands[1].high, first.high - operands[1].low
        case "abs":
            return _magnitudes(first)
        case "square":
            return _power(first, 2)
        case "mul":
            return _power(first, 2) if same else _corners(_times, *operands)
        case "integer_pow" if equation.params["y"] > 0:
            return _power(first, equation.params["y"])
        case "div" if operands[1].low > 0 or operands[1].high < 0:
            return _corners(_over, *operands)
        case "rsqrt" if first.low > 0:
            return 1 / math.sqrt(first.high), 1 / math.sqrt(first.low)
        case "reduce_sum":
            shape = equation.invars[0].aval.shape
            count = math.prod(shape[axis] for axis in equation.params["axes"])
            return _times(count, first.low), _times(count, first.high)
        case _:
            return None


def _magnitudes(bound: Bound) -> tuple[float, float]:
    low, high = sorted((abs(bound.low), abs(bound.high)))
    return (0.0 if bound.low <= 0 <= bound.high else low), high


def _power(bound: Bound, exponent: int) -> tuple[float, float]:
    low, high = (bound.low, bound.high) if exponent % 2 else _magnitudes(bound)
    return _raised(low, exponent), _raised(high, exponent)


def _raised(value: float, exponent: int) -> float:
    try:
        return value**exponent
    except OverflowError:
        return math.copysign(_INF, value if exponent % 2 else 1)


def _times(a: float, b: float) -> float:
    return 0.0 if a == 0 or b == 0 else a * b


def _over(a: float, b: float) -> float:
    return math.nan if math.isinf(a) and math.isinf(b) else a / b


def _corners(
    function: Callable[[float, float], float], a: Bound, b: Bound
) -> tuple[float, float]:
    values = [function(x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
    return min(values), max(values)
