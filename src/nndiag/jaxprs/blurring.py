"""Pseudo-random errors in place of rounding: how much a program magnifies it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_EXACT = frozenset(
    [
        "abs",
        "argmax",
        "argmin",
        "broadcast_in_dim",
        "clamp",
        "concatenate",
        "copy",
        "copy_p",
        "dynamic_slice",
        "dynamic_update_slice",
        "expand_dims",
        "gather",
        "imag",
        "iota",
        "max",
        "min",
        "neg",
        "optimization_barrier",
        "pad",
        "real",
        "reduce_max",
        "reduce_min",
        "reshape",
        "rev",
        "select_n",
        "sign",
        "slice",
        "sort",
        "split",
        "squeeze",
        "stop_gradient",
        "transpose",
    ]
)
"""Primitives that do not round."""

_SHORT = 64
"""A number whose last six binary digits are 0 was not rounded."""

_SUMS = frozenset(
    ["dot_general", "conv_general_dilated", "reduce_sum", "cumsum", "add_any"]
)


def operands(equation: Any, values: Sequence[Any], size: Any, seed: Any) -> list[Any]:
    """The operands of a sum, blurred: what is lost where its terms cancel.

    For a sum of n terms the errors are 1 + √n / 8 times larger, as those of its
    partial sums add up.
    """
    if equation.primitive.name not in _SUMS:
        return list(values)
    results = max(1, math.prod(equation.outvars[0].aval.shape))
    length = max(1, values[0].size // results)
    spread = size * (1 + length**0.5 / 8)
    return [blurred(value, spread, seed, n) for n, value in enumerate(values)]


def results(equation: Any, values: Sequence[Any], size: Any, seed: Any) -> list[Any]:
    """The results of an equation, blurred if it rounds."""
    if equation.primitive.name in _EXACT:
        return list(values)
    return [blurred(value, size, seed, n + 2) for n, value in enumerate(values)]


def was_rounded(number: Any, exact: frozenset[float]) -> bool:
    """Whether a number in a program may have lost digits to its dtype.

    One whose last places are 0, such as 2 or 0.75, has not; nor has one of `exact`.
    """
    dtype = getattr(number, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        return False
    if np.ndim(number) == 0 and float(number) in exact:
        return False
    mantissa, _ = np.frexp(np.asarray(number, np.float64))
    digits = mantissa / (float(jnp.finfo(dtype).eps) * _SHORT)
    return bool(np.isfinite(digits).all() and (digits != np.round(digits)).any())


def blurred(value: Any, size: Any, seed: Any, salt: int = 0) -> Any:
    """`value`·(1 + size·ξ) with ξ in [−1, 1), a hash of the bits of `value`."""
    if not jnp.issubdtype(value.dtype, jnp.floating):
        return value
    bits = jax.lax.bitcast_convert_type(value, jnp.int64)
    mixed = (bits ^ seed) * np.int64(0x14D049BB133111EB + 2 * salt)
    unit = (mixed >> np.int64(11)).astype(jnp.float64) * 2.0**-52
    return value * (1 + size * unit)
