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


@sick(
    half(0, 1),
    kind="nan",
    primitive="mul",
    element=(1,),
    cause=("0 · (-Inf) is NaN", "1e9, written on this line, overflows float16"),
)
def mask_times_a_number_beyond_float16(mask):
    with np.errstate(over="ignore"):
        return (1 - mask) * -1e9  # here


@sick(
    half(0, 1),
    half(0, 1),
    kind="nan",
    primitive="div",
    element=(0,),
    cause=("0 / 0 is NaN: 1e-8 rounds to 0 in float16",),
    rewrite="return m / (jnp.sqrt(v) + 0.0001)",
)
def adam_in_half_precision(m, v):
    return m / (jnp.sqrt(v) + 1e-8)  # here


@sick(
    single(1, 1000),
    kind="nan",
    primitive="convert_element_type",
    element=(1,),
    cause=("largest float8_e4m3fn is 448", "has no Inf, so it becomes NaN"),
)
def cast_to_eight_bits(x):
    return x.astype(jnp.float8_e4m3fn)  # here
