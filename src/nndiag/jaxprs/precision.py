"""Which dtypes a program is evaluated in."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.jaxprs import compat

OPAQUE = frozenset(
    [
        "pallas_call",
        "ffi_call",
        "pure_callback",
        "io_callback",
        "shard_map",
        "custom_partitioning",
        "custom_linear_solve",
        "call_hi_primitive",
        "tpu_custom_call",
        "bitcast_convert_type",
        "reduce",
        "reduce_window",
        "rng_uniform",
    ]
)
"""Primitives evaluated in the dtypes they were traced in."""


def wide(dtype: Any) -> Any:
    """The dtype in which arrays of `dtype` are held: float64, complex128 or itself."""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return np.dtype(np.complex128)
    return np.dtype(np.float64) if jnp.issubdtype(dtype, jnp.floating) else dtype


def widen(value: Any) -> Any:
    """A float or complex array in float64 or complex128; others as they are."""
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        value = jnp.asarray(value)
        dtype = value.dtype
    target = wide(dtype)
    return value if target == dtype else jax.lax.convert_element_type(value, target)


def arithmetic(jaxpr: Any) -> float:
    """ε of the coarsest arithmetic in which `evaluate` computes a part of a jaxpr."""
    found = 2.0**-52
    for equation in compat.open_jaxpr(jaxpr).eqns:
        if equation.primitive.name in OPAQUE:
            dtypes = (getattr(v.aval, "dtype", np.int32) for v in equation.invars)
            floats = [d for d in dtypes if jnp.issubdtype(d, jnp.inexact)]
            found = max([found, *(float(jnp.finfo(d).eps) for d in floats)])
        else:
            found = max([found, *map(arithmetic, compat.jaxprs_in(equation))])
    return found
