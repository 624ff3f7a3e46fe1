"""A complex step through each primitive gives the derivative of JAX's own autodiff."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nndiag.jaxprs import widening
from nndiag.jaxprs.stepping import ANALYTIC, NotAnalyticError
from nndiag.jaxprs.widening import Reading

STEP = 2.0**-100
X = np.random.default_rng(0).uniform(0.1, 0.9, (3, 4))

OF_ONE_NUMBER = [
    *(jnp.exp, jnp.exp2, jnp.expm1, jnp.log, jnp.log1p, jnp.sqrt, jnp.square),
    *(jnp.sin, jnp.cos, jnp.tan, jnp.sinh, jnp.cosh, jnp.tanh),
    *(jnp.arcsin, jnp.arccos, jnp.arctan, jnp.arcsinh, jnp.arctanh),
    lambda x: jnp.arccosh(1 + x),
    jax.lax.rsqrt,
    jax.nn.sigmoid,
    jnp.negative,
    jnp.reciprocal,
    lambda x: x**3 + x**-2,
    lambda x: x**2.5 + 2.0**x,
    lambda x: x**x,
]
PIECEWISE = [
    jnp.abs,
    jax.nn.relu,
    partial(jnp.clip, min=0.3, max=0.6),
    lambda x: jnp.minimum(x, 0.5) * jnp.maximum(x, x[::-1]),
    lambda x: jnp.where(x > 0.5, x, x**2),
    lambda x: jnp.sign(x - 0.5) * x + jnp.floor(3 * x) * x + jnp.round(x) * x,
    lambda x: x.max(0) + x.min(0) * x[0] + x[jnp.argmax(x[:, 0])],
    lambda x: x.astype(int) + x.astype(bool) * x,
    lambda x: jnp.array(x).ravel()[jnp.argmin(x)],
]
OF_ARRAYS = [
    lambda x: x @ x.T + jnp.einsum("ij,kj->ki", x, jnp.ones((2, 4))).sum(),
    lambda x: x.prod(0) + x.mean(0) + jnp.cumsum(x, 1)[0] + jnp.cumprod(x, 1)[1],
    lambda x: jnp.concatenate([x, x.T.reshape(3, 4)])[1:4, ::-1],
    lambda x: jnp.pad(x, 1)[2] * jnp.squeeze(x[:1, :1]),
    lambda x: jnp.split(x, 2, axis=1)[0] / x[:, 2:],
    lambda x: x[jnp.array([0, 2, 2])] * x.at[1].set(x[0] ** 2).at[2].add(x[1]),
    lambda x: x.at[jnp.array([0, 1])].multiply(x[:2], unique_indices=True),
    lambda x: jax.lax.dynamic_slice(x, (1, 1), (2, 2)),
    lambda x: jax.lax.dynamic_update_slice(x, x[:1, :1] ** 2, (1, 2)),
    lambda x: jax.lax.conv(x[None, None], x[None, None, :2, :2], (1, 1), "SAME"),
    jax.nn.log_softmax,
    jax.nn.logsumexp,
    jnp.linalg.norm,
]
OF_BODIES = [
    lambda x: jax.lax.scan(lambda c, r: (jnp.sin(c) + r, c * r), 0.0, x[0])[1],
    lambda x: jax.lax.fori_loop(0, 3, lambda i, c: jnp.tanh(c @ x.T @ x), jnp.ones(4)),
    lambda x: jax.lax.cond(x[0, 0] > 0.5, jnp.sin, jnp.zeros_like, x),
    lambda x: jax.lax.cond(x[0, 0] < 0.5, jnp.sin, jnp.zeros_like, x),
    jax.checkpoint(lambda x: jnp.sin(x) ** 2),
    jax.vmap(jax.jit(lambda row: row * row[::-1])),
    lambda x: jax.random.bernoulli(jax.random.key(0), 0.5, x.shape) * x**2,
    lambda x: jax.random.normal(jax.random.key(0), x.shape) * x**2,
]


def by_step(function, x, direction):
    traced = jax.make_jaxpr(function)(x)
    moved = x + 1j * STEP * direction
    evaluate = jax.jit(lambda v: widening.evaluate(traced, [v], Reading(stepped=True)))
    return np.imag(evaluate(moved)[0]) / STEP


def exponential(x):
    def proceed(state):
        return state[0] < 25

    def body(state):
        n, term, total = state
        return n + 1, term * x / (n + 1), total + term

    return jax.lax.while_loop(proceed, body, (0, jnp.ones_like(x), 0 * x))[2]


@pytest.mark.parametrize(
    "function", [*OF_ONE_NUMBER, *PIECEWISE, *OF_ARRAYS, *OF_BODIES]
)
def test_the_imaginary_part_is_the_derivative(function):
    direction = np.random.default_rng(1).normal(size=X.shape)
    with jax.enable_x64(True):
        true = jax.jvp(function, (jnp.asarray(X),), (jnp.asarray(direction),))[1]
        found = by_step(function, X, direction)
    np.testing.assert_allclose(found, true, rtol=2e-14, atol=1e-14)


def test_a_while_loop_has_one_too():
    with jax.enable_x64(True):
        found = by_step(exponential, X, np.ones_like(X))
    np.testing.assert_allclose(found, np.exp(X), rtol=1e-14)


SIZES = [1e-9, 1e-6, 1e-3, 0.5, 3.0, 15.0, 40.0]
CLOSED = [
    (jnp.exp, np.exp),
    (jnp.expm1, np.exp),
    (jnp.sinh, np.cosh),
    (jnp.cosh, np.sinh),
    (jnp.tanh, lambda x: np.cosh(x) ** -2),
    (jax.nn.sigmoid, lambda x: 0.25 / np.cosh(x / 2) ** 2),
    (jnp.arctan, lambda x: 1 / (1 + x**2)),
    (jnp.arcsinh, lambda x: 1 / np.sqrt(1 + x**2)),
    (jnp.sin, np.cos),
    (jax.nn.elu, lambda x: np.where(x > 0, 1.0, np.exp(x))),
    (jax.nn.softplus, lambda x: 1 / (1 + np.exp(-x))),
]


@pytest.mark.parametrize(("function", "derivative"), CLOSED)
def test_no_digit_is_lost_at_any_size(function, derivative):
    x = np.array([-x for x in SIZES] + SIZES)
    with jax.enable_x64(True):
        found = by_step(function, x, np.ones_like(x))
    np.testing.assert_allclose(found, derivative(x), rtol=1e-13)


@pytest.mark.parametrize("function", [jax.scipy.special.erf, jnp.sort, jnp.cbrt])
def test_what_is_not_analytic_is_refused(function):
    with jax.enable_x64(True), pytest.raises(NotAnalyticError):
        by_step(function, X, np.ones_like(X))


def test_each_primitive_that_is_let_through_is_tried_here():
    tried = {"optimization_barrier", "add_any", "copy", "copy_p", "reduce_precision"}
    tried |= {"stop_gradient"}  # a derivative by autodiff that is none
    for function in [*OF_ONE_NUMBER, *PIECEWISE, *OF_ARRAYS, *OF_BODIES, exponential]:
        tried |= names(jax.make_jaxpr(function)(X))
    assert tried >= ANALYTIC


def names(jaxpr):
    found = set()
    for equation in jaxpr.eqns:
        found.add(equation.primitive.name)
        for value in jax.tree.leaves(list(equation.params.values())):
            if hasattr(value, "eqns"):
                found |= names(value)
    return found
