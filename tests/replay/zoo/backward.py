"""NaN and Inf that differentiation makes; the values themselves are fine."""

import jax
import jax.numpy as jnp

from .case import sick, single

BACKWARD = {"kind": "nan", "direction": "backward"}


@sick(single(0, 0), **BACKWARD, primitive="mul", origin="div", element=(0,))
def norm_at_zero(x):
    return jax.grad(jnp.linalg.norm)(x)  # here


@sick(
    single(0, 0),
    **BACKWARD,
    primitive="mul",
    origin="div",
    element=(0,),
    cause=("derivative of sqrt",),
    rewrite="return jnp.sqrt(jnp.maximum(jnp.sum(x ** 2), 1e-37))",
)
def root_of_a_sum_of_squares(x):
    def length(x):
        return jnp.sqrt(jnp.sum(x**2))  # here

    return jax.jit(jax.grad(length))(x)


@sick(
    single(4, 0),
    kind="inf",
    primitive="div",
    element=(1,),
    cause=("derivative of sqrt",),
)
def root_at_zero(x):
    return jax.grad(lambda x: jnp.sqrt(x).sum())(x)  # here


@sick(single(4, 0), kind="inf", primitive="pow", element=(1,), cause=("Inf at x = 0",))
def power_at_zero(x):
    return jax.grad(lambda x: (x**0.5).sum())(x)  # here


@sick(single(0.5, 1), kind="inf", primitive="rsqrt", element=(1,), cause=("arccos",))
def arccos_at_one(x):
    return jax.grad(lambda x: jnp.arccos(x).sum())(x)  # here


@sick(
    single(4, 0),
    **BACKWARD,
    primitive="mul",
    origin="div",
    element=(1,),
    cause=("`where`", "sqrt at 0", "0 · Inf"),
    rewrite="y = jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0)",
)
def masked_root(x):
    def loss(x):
        y = jnp.where(x > 0, jnp.sqrt(x), 0.0)  # here
        return y.sum()

    return jax.grad(loss)(x)


@sick(
    single(0, 4),
    **BACKWARD,
    primitive="div",
    element=(0,),
    cause=("`where`", "log at 0"),
    rewrite="y = jnp.where(x > 0, jnp.log(jnp.where(x > 0, x, 1.0)), 0.0)",
)
def masked_logarithm(x):
    def loss(x):
        y = jnp.where(x > 0, jnp.log(x), 0.0)  # here
        return y.sum()

    return jax.grad(loss)(x)


@sick(
    single(0, 4),
    **BACKWARD,
    primitive="mul",
    origin="integer_pow",
    element=(0,),
    cause=("`where`", "1 / x at 0"),
    rewrite="y = jnp.where(x == 0, 0.0, 1 / jnp.where(x == 0, 1.0, x))",
)
def masked_division(x):
    def loss(x):
        y = jnp.where(x == 0, 0.0, 1 / x)  # here
        return y.sum()

    return jax.grad(loss)(x)


@sick(
    single(9, 0),
    **BACKWARD,
    primitive="mul",
    origin="pow",
    element=(1,),
    cause=("`where`", "power below 1"),
    rewrite="root = jnp.where(x > 0, x, 1.0) ** 0.5",
)
def masked_power_on_two_lines(x):
    def loss(x):
        root = x**0.5  # here
        return jnp.where(x > 0, root, 0.0).sum()

    return jax.grad(loss)(x)


@sick(
    single(1, 0.5),
    **BACKWARD,
    primitive="mul",
    origin="rsqrt",
    element=(0,),
    cause=("`where`", "arccos"),
    rewrite="y = jnp.where(x < 1, jnp.arccos(jnp.where(x < 1, x, 0.0)), 0.0)",
)
def masked_arccos(x):
    def loss(x):
        y = jnp.where(x < 1, jnp.arccos(x), 0.0)  # here
        return y.sum()

    return jax.grad(loss)(x)


@sick(
    single(100, 1),
    **BACKWARD,
    primitive="mul",
    origin="exp",
    element=(0,),
    cause=("`where`", "exp, which overflowed"),
    rewrite="y = jnp.where(x < 80, jnp.exp(jnp.where(x < 80, x, 0.0)), 0.0)",
)
def masked_exp(x):
    def loss(x):
        y = jnp.where(x < 80, jnp.exp(x), 0.0)  # here
        return y.sum()

    return jax.grad(loss)(x)


@sick(
    single(1, -100),
    **BACKWARD,
    primitive="mul",
    origin="exp",
    element=(1,),
    cause=("exp(100) overflows",),
    rewrite="return jnp.sum(jax.nn.sigmoid(x))",
)
def sigmoid_by_hand(x):
    def loss(x):
        return jnp.sum(1 / (1 + jnp.exp(-x)))  # here

    return jax.grad(loss)(x)


@sick(single(3, 3, 3), **BACKWARD, primitive="mul", origin="div", element=(0,))
def deviation_of_equal_elements(x):
    return jax.grad(lambda x: x.std())(x)  # here


@sick(
    single(0, 200, 1),
    **BACKWARD,
    primitive="div",
    element=(2,),
    rewrite="return -jax.nn.log_softmax(z)[0]",
)
def gradient_of_log_softmax_by_hand(z):
    def loss(z):
        return -jnp.log(jax.nn.softmax(z))[0]  # here

    return jax.grad(loss)(z)


@sick(single(0, 0), kind="nan", primitive="mul", origin="div")
def forward_mode(x):
    def length(x):
        return jnp.sqrt(jnp.sum(x**2))  # here

    return jax.jvp(length, (x,), (jnp.ones_like(x),))


@sick(single(0, 0), **BACKWARD, primitive="mul", origin="div", element=(0,))
def rematerialised(x):
    @jax.checkpoint
    def length(x):
        return jnp.sqrt(jnp.sum(x**2))  # here

    return jax.grad(length)(x)


@sick(
    single([3, 4], [1, 1], [0, 0]),
    **BACKWARD,
    primitive="mul",
    origin="div",
    element=(2, 0),
)
def mapped_gradient(rows):
    def length(x):
        return jnp.sqrt(jnp.sum(x * x))  # here

    return jax.vmap(jax.grad(length))(rows)


@sick(
    {"w": single([300], [1]), "b": single(0)},
    single([1, 2], [3, 4]),
    kind="nan",
    primitive="div",
    origin="exp",
    element=(0, 0),
    cause=("exp(302) overflows float32",),
)
def classifier_with_softmax_by_hand(params, x):
    def loss(params):
        z = jax.nn.relu(x @ params["w"] + params["b"])
        z = jnp.concatenate([z, -z], axis=1)
        powers = jnp.exp(z)  # origin
        p = powers / powers.sum(axis=1, keepdims=True)  # here
        return -jnp.log(p[:, 0]).mean()

    value, grads = jax.jit(jax.value_and_grad(loss))(params)
    return value, jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
