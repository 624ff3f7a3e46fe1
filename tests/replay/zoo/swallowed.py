"""NaN and Inf that do not reach the output."""

import jax.numpy as jnp
import numpy as np

from .case import sick, single


@sick(
    single(1, -3),
    kind="nan",
    primitive="log",
    element=(1,),
    reaches=False,
    cause=("log(-3)", "No NaN or Inf reaches the output"),
)
def argmax_of_nan(x):
    return jnp.argmax(jnp.log(x))  # here


@sick(single(1, -3), kind="nan", primitive="sqrt", element=(1,), reaches=False)
def comparison_with_nan(x):
    return (jnp.sqrt(x) > 0.5).sum()  # here


@sick(
    single(1, -100),
    kind="inf",
    primitive="exp",
    element=(1,),
    reaches=False,
    cause=("exp(100) overflows",),
    rewrite="return jax.nn.sigmoid(x)",
)
def value_of_sigmoid_by_hand(x):
    return 1 / (1 + jnp.exp(-x))  # here


@sick(
    single(1, -3),
    options={"ignore_masked": False},
    kind="nan",
    primitive="log",
    element=(1,),
    reaches=False,
)
def masked_sum(x):
    return jnp.nansum(jnp.log(x))  # here


@sick(
    single(0, -3, 4),
    options={"ignore_masked": False},
    kind="nan",
    primitive="sqrt",
    element=(1,),
    reaches=False,
)
def masked_value(x):
    roots = jnp.sqrt(x)  # here
    return jnp.where(x >= 0, roots, 0.0)


@sick(
    single(1, 2, 100),
    options={"look_for": "inf"},
    kind="inf",
    primitive="exp",
    element=(2,),
)
def inf_before_the_nan(z):
    powers = jnp.exp(z)  # here
    return powers / powers.sum()


@sick(
    single(0, 4),
    options={"look_for": "nan"},
    kind="nan",
    primitive="mul",
    origin="log",
    element=(0,),
)
def nan_after_the_inf(x):
    logs = jnp.log(x)  # origin
    return logs, x * logs  # here


@sick(
    np.array([0, 3], np.int32),
    single(5, 7),
    kind="nan",
    primitive="div",
    element=(0,),
    reaches=False,
)
def cast_to_integer(count, total):
    mean = (total - total) / count  # here
    return mean.astype(jnp.int32)


@sick(
    np.array([[0, 1]], np.float16),
    kind="inf",
    primitive="convert_element_type",
    element=(0, 1),
    reaches=False,
    cause=("the cast of -1e+09 from float32 to float16 overflows",),
)
def added_mask_that_is_scaled(scores):
    mask = jnp.array([0.0, -1e9])
    masked = scores + jnp.where(scores > 0, mask, 0.0).astype(jnp.float16)  # here
    return jnp.exp(masked * jnp.float16(0.5))
