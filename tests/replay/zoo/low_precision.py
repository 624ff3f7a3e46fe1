"""Overflow of float16 and bfloat16."""

import jax.numpy as jnp
import numpy as np

from .case import half, sick, single


@sick(
    half(1, 12),
    kind="inf",
    primitive="exp",
    element=(1,),
    cause=("exp(12) overflows float16, whose largest argument is 11.09",),
)
def exp_in_half_precision(x):
    return jnp.exp(x)  # here


@sick(
    single(1, 70_000),
    kind="inf",
    primitive="convert_element_type",
    element=(1,),
    cause=("7e+04", "6.55e+04"),
    rewrite="return x.astype(jnp.bfloat16)",
)
def cast_to_half_precision(x):
    return x.astype(jnp.float16)  # here


@sick(single(1, 3.4e38), kind="inf", primitive="convert_element_type", element=(1,))
def cast_to_bfloat16(x):
    return x.astype(jnp.bfloat16)  # here


@sick(
    half(*[500] * 200),
    kind="inf",
    primitive="convert_element_type",
    cause=("sum of 1e+05",),
    rewrite="return jnp.sum(x, dtype=jnp.float32)",
)
def sum_in_half_precision(x):
    return jnp.sum(x)  # here


@sick(
    np.full((2, 4), 200, np.float16),
    kind="inf",
    primitive="dot_general",
    element=(0, 0),
    rewrite="return jnp.matmul(x, x.T, preferred_element_type=jnp.float32)",
)
def product_in_half_precision(x):
    return x @ x.T  # here


@sick(
    half(300, 2),
    kind="inf",
    primitive="integer_pow",
    element=(0,),
    reaches=False,
    cause=("300 to the power 2 overflows float16", "6.55e+04"),
    rewrite="squares = x.astype(jnp.float32) ** 2",
)
def root_mean_square_in_half_precision(x):
    squares = x**2  # here
    return x / jnp.sqrt(jnp.mean(squares))


@sick(half(40_000, 1), kind="inf", primitive="mul", element=(0,), reaches=False)
def scaled_in_half_precision(x):
    return 1 / (x * 2)  # here
