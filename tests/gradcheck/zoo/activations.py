"""The activations of `jax.nn` in every floating type, at points that are hard."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from .case import normal, right

SIZE = 8
WEIGHTS = np.linspace(-1, 1.4, SIZE, dtype=np.float32)
DTYPES = {
    "float64": np.float64,
    "float32": np.float32,
    "bfloat16": ml_dtypes.bfloat16,
    "float16": np.float16,
}
SIGNS = np.array([1, -1] * (SIZE // 2), np.float32)
POINTS = {
    "random": normal(1, SIZE),
    "thousandth": 1e-3 * SIGNS,
    "millionth": 1e-6 * SIGNS,
    "saturated": np.linspace(5, 12, SIZE, dtype=np.float32) * SIGNS,
    "tiny": 1e-6 * normal(2, SIZE),
    "huge": 1e4 * np.abs(normal(3, SIZE)) * SIGNS,
    "zero": 0 * SIGNS,
}
SMOOTH = [
    "sigmoid",
    "tanh",
    "softplus",
    "soft_sign",
    "silu",
    "log_sigmoid",
    "mish",
    "squareplus",
]
KINKED = [
    "relu",
    "relu6",
    "leaky_relu",
    "hard_sigmoid",
    "hard_silu",
    "hard_tanh",
    "elu",
    "celu",
    "selu",
    "sparse_plus",
    "sparse_sigmoid",
]
VECTOR = ["softmax", "log_softmax", "standardize", "glu"]


def exact_gelu(x: Any) -> Any:
    return jax.nn.gelu(x, approximate=False)


ACTIVATIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(jax.nn, name) for name in (*SMOOTH, *KINKED, *VECTOR)},
    "identity": jax.nn.identity,
    "gelu": jax.nn.gelu,
    "exact_gelu": exact_gelu,
    "logsumexp": jax.nn.logsumexp,
}


def weighed(x: Any, activation: Callable[..., Any]) -> Any:
    y = jnp.ravel(activation(x))
    return jnp.sum(y * WEIGHTS[: y.size].astype(y.dtype))


OUTSIDE = {
    *(f"standardize_float16_{p}" for p in ("thousandth", "millionth", "tiny", "zero")),
    *(f"{name}_float16_huge" for name in ("standardize", "squareplus", "gelu")),
}
"""Their value or gradient is not finite in the floating type."""


def points() -> Any:
    for number, (name, activation) in enumerate(ACTIVATIONS.items()):
        for dtype in DTYPES:
            for place, (point, values) in enumerate(POINTS.items()):
                kinked = name in KINKED or name == "standardize"
                often = (
                    place == (2 * number + list(DTYPES).index(dtype)) % len(POINTS)
                    or (
                        dtype == "float32"
                        and name in ("relu", "gelu", "softmax", "selu")
                    )
                    or (dtype == "float16" and name in ("sigmoid", "softplus"))
                    or (dtype == "bfloat16" and name in ("log_softmax", "hard_tanh"))
                )
                yield name, activation, dtype, point, values, kinked, often


for name, activation, dtype, point, values, kinked, often in points():
    if f"{name}_{dtype}_{point}" in OUTSIDE:
        continue
    fn, x = partial(weighed, activation=activation), values.astype(DTYPES[dtype])
    right(
        f"{name}_{dtype}_{point}",
        fn,
        x,
        double=dtype == "float64",
        undecided=kinked
        or point in ("tiny", "huge")
        # Arguments of logaddexp that differ by one subnormal: nearly a tie.
        or f"{name}_{dtype}_{point}" == "softplus_float16_millionth",
        often=often,
    )
