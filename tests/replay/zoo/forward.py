"""NaN and Inf from one operation of the forward pass."""

import jax
import jax.numpy as jnp
import numpy as np

from .case import sick, single


@sick(
    single(1, 0, 2),
    kind="inf",
    primitive="log",
    element=(1,),
    cause=("log(0) is -Inf",),
    rewrite="return jnp.log(jnp.maximum(x, 1e-37))",
)
def log_of_zero(x):
    return jnp.log(x)  # here


@sick(single(1, -0.3), kind="nan", primitive="log", element=(1,), cause=("log(-0.3)",))
def log_of_a_negative(x):
    return jnp.log(x)  # here


@sick(single(1, 5, 1), kind="nan", primitive="sqrt", element=(0,), cause=("sqrt(-1)",))
def root_of_a_negative(x):
    shifted = x - 2
    return jnp.sqrt(shifted).sum()  # here


@sick(single(0, 0), kind="nan", primitive="div", element=(0,), cause=("0 / 0",))
def zero_by_zero(x):
    return x / x.sum()  # here


@sick(
    single(3, 0, 1),
    kind="inf",
    primitive="div",
    element=(1,),
    cause=("1 / 0 is Inf",),
    rewrite="return 1.0 / jnp.where(x == 0, 1.0, x)",
)
def one_by_zero(x):
    return 1.0 / x  # here


@sick(
    single(4, -8),
    kind="nan",
    primitive="pow",
    element=(1,),
    cause=("(-8) to the power 0.3333",),
    rewrite="return jnp.sign(x) * jnp.abs(x) ** (1 / 3)",
)
def power_of_a_negative(x):
    return x ** (1 / 3)  # here


@sick(single(4, 0), kind="inf", primitive="pow", element=(1,), cause=("-1.5",))
def negative_power_of_zero(x):
    return x**-1.5  # here


@sick(
    single(0.5, 1.0001),
    kind="nan",
    primitive="acos",
    element=(1,),
    cause=("arccos(1.0001)", "outside"),
    rewrite="return jnp.arccos(jnp.clip(x, -0.999999, 0.999999))",
)
def arccos_beyond_one(x):
    return jnp.arccos(x)  # here


@sick(single(0.5, 1.0), kind="inf", primitive="atanh", element=(1,))
def arctanh_at_one(x):
    return jnp.arctanh(x)  # here


@sick(
    single(88, 104.2),
    kind="inf",
    primitive="exp",
    element=(1,),
    cause=("exp(104.2) overflows float32, whose largest argument is 88.72",),
    rewrite="return jnp.exp(jnp.minimum(x, 88.6))",
)
def exp_overflow(x):
    return jnp.exp(x)  # here


@sick(single(1, 200), kind="nan", primitive="sub", element=(1,), origin="exp")
def infinite_minus_infinite(x):
    large = jnp.exp(x)  # origin
    return large - jnp.exp(x)  # here


@sick(single(0, 0.5), kind="nan", primitive="mul", element=(0,), origin="log")
def entropy(p):
    return -jnp.sum(p * jnp.log(p))  # here


@sick(
    single([1, 0], [0, 1]),
    single([0.25, 0.75], [0, 1]),
    kind="nan",
    primitive="mul",
    origin="log",
    element=(1, 0),
    cause=("log(0) is -Inf",),
    rewrite="return -jnp.mean(jax.scipy.special.xlogy(labels, p))",
)
def cross_entropy_of_certainty(labels, p):
    return -jnp.mean(labels * jnp.log(p))  # here


@sick(
    single(1, 2, 100),
    kind="nan",
    primitive="div",
    origin="exp",
    element=(2,),
    cause=("exp(100) overflows",),
    rewrite="return jax.nn.softmax(z, axis=None)",
)
def softmax_by_hand(z):
    powers = jnp.exp(z)  # origin
    return powers / powers.sum()  # here


@sick(
    single([1, 2], [100, 3]),
    kind="nan",
    primitive="div",
    origin="exp",
    element=(1, 0),
    rewrite="return jax.nn.softmax(z, axis=-1)",
)
def softmax_on_one_line(z):
    return jnp.exp(z) / jnp.exp(z).sum(axis=-1, keepdims=True)  # here


@sick(
    single(0, 200),
    kind="inf",
    primitive="log",
    element=(0,),
    cause=("softmax",),
    rewrite="return jax.nn.log_softmax(z)",
)
def log_of_softmax(z):
    return jnp.log(jax.nn.softmax(z))  # here


@sick(
    single([1, 2], [3, 4]),
    np.array([[True, False], [False, False]]),
    kind="nan",
    primitive="sub",
    element=(1, 0),
    cause=("fully masked row", "row 1"),
    rewrite="return jax.nn.softmax(jnp.where(mask, scores, "
    "jnp.finfo(jnp.float32).min))",
)
def fully_masked_row(scores, mask):
    return jax.nn.softmax(jnp.where(mask, scores, -jnp.inf))  # here


@sick(single(3), kind="nan", primitive="div", cause=("ddof=1",))
def variance_of_one_element(x):
    return jnp.var(x, ddof=1)  # here


@sick(single(), kind="nan", primitive="div", cause=("no elements",))
def mean_of_nothing(x):
    return jnp.mean(x)  # here


@sick(
    single([1, 7], [3, 7]),
    kind="nan",
    primitive="div",
    element=(0, 1),
    cause=("standard deviation of 0",),
    rewrite="return (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-06)",
)
def constant_column(x):
    return (x - x.mean(axis=0)) / x.std(axis=0)  # here


@sick(single(1, 2), single(0, 0), kind="nan", primitive="div", cause=("zero vector",))
def cosine_of_a_zero_vector(a, b):
    return a @ b / (jnp.linalg.norm(a) * jnp.linalg.norm(b))  # here


@sick(
    np.array([3, 50_000], np.int32),
    kind="nan",
    primitive="sqrt",
    element=(1,),
    cause=("2500000000", "2147483647", "wrapped"),
)
def integer_overflow(n):
    squares = n * n
    return jnp.sqrt(squares.astype(jnp.float32))  # here


@sick(
    {"b": single(1), "w": single(1, 2, np.nan)},
    kind="nan",
    primitive="input",
    element=(2,),
    argument="params['w']",
)
def nan_in_the_input(params):
    return (params["w"] * 2).sum() + params["b"]


@sick(
    single(0, 1),
    single(np.inf, 1),
    kind="inf",
    primitive="input",
    element=(0,),
    argument="scale",
)
def infinite_input(x, scale):
    return x * scale


@sick(single(3e38, 1, 3e38), kind="inf", primitive="reduce_sum", cause=("3e+38",))
def sum_overflow(x):
    return jnp.sum(x)  # here


@sick(single(2, 1e10), kind="inf", primitive="integer_pow", element=(1,))
def power_overflow(x):
    return x**4  # here


@sick(single(1e30), single(1e-30), kind="inf", primitive="div", element=(0,))
def quotient_overflow(a, b):
    return a / b  # here


@sick(single(2, 3), kind="nan", primitive="rem", element=(0,))
def remainder_of_zero(x):
    return jnp.mod(x, 0.0)  # here


@sick(single(1, 90), kind="nan", primitive="sin", origin="exp", element=(1,))
def sine_of_infinity(x):
    frequency = jnp.exp(x)  # origin
    return jnp.sin(frequency)  # here


@sick(
    single(1, 100, 2),
    kind="inf",
    primitive="exp",
    element=(1,),
    cause=("exp(100)",),
    rewrite="return jax.nn.logsumexp(z)",
)
def logsumexp_by_hand(z):
    return jnp.log(jnp.sum(jnp.exp(z)))  # here


@sick(
    single(1, 100),
    kind="inf",
    primitive="exp",
    element=(1,),
    rewrite="return jax.nn.softplus(x)",
)
def softplus_by_hand(x):
    return jnp.log(1 + jnp.exp(x))  # here


@sick(single([1, 2], [2, 1]), kind="nan", primitive="cholesky", element=(0, 0))
def cholesky_of_an_indefinite_matrix(a):
    return jnp.linalg.cholesky(a)  # here


@sick(single(1, 2, 3), np.array([0, 7]), kind="nan", primitive="gather", element=(1,))
def index_out_of_bounds(table, index):
    return jnp.take(table, index)  # here


@sick(single(2, 0), kind="nan", primitive="mul", origin="rsqrt", element=(0,))
def layer_norm_without_epsilon(x):
    equal = x - x
    scale = jax.lax.rsqrt(jnp.var(equal))  # origin
    return equal * scale  # here


@sick(single(0, 5), kind="inf", primitive="log", element=(0,))
def inside_a_named_scope(x):
    with jax.named_scope("head"):
        return jnp.log(x)  # here


@sick(single(9, 4), kind="nan", primitive="sqrt", element=(1,))
def over_several_lines(x):
    return jnp.where(
        x > 100,
        0.0,
        jnp.sqrt(x - 5.0),  # here
    )


@sick(
    jax.random.key(3),
    kind="nan",
    primitive="log",
    element=tuple(
        np.argwhere(np.asarray(jax.random.normal(jax.random.key(3), (8,))) < 0)[0]
    ),
)
def random_key(key):
    return jnp.log(jax.random.normal(key, (8,)))  # here
