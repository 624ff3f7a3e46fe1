"""How near an operation is to the end of its type's range.

The *peak* of an operation is the largest number that it, or the factor by which its
derivative multiplies, makes of its operands. Its headroom is log₂(max of the type) −
log₂(peak), in bits.

| operation | peak |
|---|---|
| exp, expm1, exp2, sinh, cosh | that of the largest argument |
| log, log1p | 1 / smallest argument: its derivative |
| sqrt | ½ / √(smallest argument): its derivative |
| rsqrt | x^−½ and, of its derivative, x^−3/2, of the smallest argument x |
| x / y | max abs(x/y) and, of the derivative by y, 1/y² of the smallest abs(y) |
| square, powers | max abs(x)ⁿ |
| casts to a narrower range | max abs(x) |
| sums, dots, convolutions of float16 and float8 | max abs(result) |

A zero that is divided by or whose logarithm is taken, and an infinity that comes in,
are left out: they are masks or poles, and no approach.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple


class Operation(NamedTuple):
    """An equation that can leave the range of its type.

    Attributes:
        name: of its primitive.
        exponent: of an integer power, else 0.
        steep: whether the gradient flows through what is divided by or rooted.
        second: whether it is the second operand that is marked.
    """

    name: str
    exponent: int = 0
    steep: bool = False
    second: bool = False


Peak = Callable[..., Any]


def peak(operation: Operation, numpy: Any, *operands: Any) -> Any:
    """The largest magnitude that `operation` makes of `operands`, 0-d.

    Args:
        operation: which.
        numpy: `numpy` or `jax.numpy`, whichever `operands` belong to.
        *operands: arrays in float32 or wider; for sums, dots and convolutions the
            result.

    Example:
        >>> import numpy as np
        >>> float(peak(Operation("log"), np, np.array([0.5, 0.0, 2.0**-20])))
        1048576.0
    """
    return PEAKS[operation.name](operation, numpy, *operands)


def _largest(numpy: Any, x: Any) -> Any:
    return numpy.where(numpy.isinf(x), 0.0, abs(x)).max()


def _largest_base(numpy: Any, x: Any) -> Any:
    """What is raised to a power; 0 if a part is infinite, as the result was then."""
    largest = abs(x).max()
    return numpy.where(numpy.isinf(largest), 0.0, largest)


def _smallest(numpy: Any, x: Any) -> Any:
    return numpy.where(x == 0, math.inf, abs(x)).min()


def _exponential(function: str) -> Peak:
    return lambda operation, numpy, x: getattr(numpy, function)(x.max())


def _hyperbolic(operation: Operation, numpy: Any, x: Any) -> Any:
    return numpy.cosh(abs(x).max())


def _logarithm(operation: Operation, numpy: Any, x: Any) -> Any:
    return 1 / _smallest(numpy, x + (operation.name == "log1p"))


def _root(operation: Operation, numpy: Any, x: Any) -> Any:
    return 0.5 / numpy.sqrt(_smallest(numpy, x))


def _inverse_root(operation: Operation, numpy: Any, x: Any) -> Any:
    inverse = 1 / numpy.sqrt(_smallest(numpy, x))
    return numpy.maximum(inverse, inverse**3) if operation.steep else inverse


def _quotient(operation: Operation, numpy: Any, x: Any, y: Any) -> Any:
    finite = numpy.where(numpy.isinf(x), 0.0, x)
    quotient = abs(finite / numpy.where(y == 0, math.inf, y)).max()
    if not operation.steep:
        return quotient
    return numpy.maximum(quotient, _smallest(numpy, y) ** -2.0)


def _integer_power(operation: Operation, numpy: Any, x: Any) -> Any:
    exponent = float(operation.exponent)
    if exponent > 0:
        return _largest_base(numpy, x) ** exponent
    return _smallest(numpy, x) ** (exponent - operation.steep)


def _power(operation: Operation, numpy: Any, x: Any, y: Any) -> Any:
    return (numpy.where((x == 0) | numpy.isinf(x), 1.0, abs(x)) ** y).max()


def _square(operation: Operation, numpy: Any, x: Any, *_: Any) -> Any:
    return _largest_base(numpy, x) ** 2.0


def _magnitude(operation: Operation, numpy: Any, x: Any) -> Any:
    return _largest(numpy, x)


def _result(operation: Operation, numpy: Any, x: Any) -> Any:
    return abs(x).max()


RESULTS = {"dot_general", "conv_general_dilated", "reduce_sum", "reduce_prod", "cumsum"}
"""Operations whose peak is read off their result."""

PEAKS: dict[str, Peak] = {
    "exp": _exponential("exp"),
    "exp2": _exponential("exp2"),
    "expm1": _exponential("expm1"),
    "sinh": _hyperbolic,
    "cosh": _hyperbolic,
    "log": _logarithm,
    "log1p": _logarithm,
    "sqrt": _root,
    "rsqrt": _inverse_root,
    "div": _quotient,
    "integer_pow": _integer_power,
    "pow": _power,
    "square": _square,
    "mul": _square,
    "convert_element_type": _magnitude,
    **dict.fromkeys(RESULTS, _result),
}
