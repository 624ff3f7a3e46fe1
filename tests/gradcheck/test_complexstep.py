"""Where the function is analytic, a gradient is checked to its last digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nndiag
from nndiag.gradcheck.complexstep import complex_step
from nndiag.gradcheck.differences import Slope
from nndiag.gradcheck.point import Point
from nndiag.gradcheck.program import Program

W = np.random.default_rng(0).normal(size=(4, 3))


def network(w):
    return jnp.mean(jax.nn.log_softmax(jnp.tanh(w @ w.T))[0, 1])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_last_digits_are_seen(dtype):
    with jax.enable_x64(dtype == "float64"):
        leaf = nndiag.check_grads(network, W.astype(dtype)).leaves[0]
    assert leaf.verdict == "right"
    assert leaf.method == "complex step"
    assert leaf.largest_error <= leaf.error_bound < 1e-12 * leaf.norm


def test_a_factor_that_differences_cannot_see_is_found():
    def gradient(w):
        return 2 * w * (1 + 1e-11)

    with jax.enable_x64(True):
        found = nndiag.check_grads(lambda w: (w**2).sum(), W, gradient=gradient)
    assert found.ok is False
    assert found.leaves[0].largest_error < 1e-9


@pytest.mark.parametrize(
    "function",
    [
        lambda w: jax.scipy.special.erf(w).sum(),
        lambda w: jnp.sort(w).prod(),
        lambda w: jnp.abs(jnp.fft.fft(w)).sum(),
        lambda w: (
            jax.pure_callback(np.sum, jax.ShapeDtypeStruct((), w.dtype), w) * 0
            + (w**2).sum()
        ),
    ],
)
def test_elsewhere_differences_decide(function):
    if "callback" in str(jax.make_jaxpr(function)(W)):
        function = jax.custom_jvp(function)
        function.defjvp(lambda x, v: (function(*x), 2 * (x[0] * v[0]).sum()))
    leaf = nndiag.check_grads(function, W).leaves[0]
    assert leaf.verdict == "right"
    assert leaf.method == "differences"


def test_a_kink_is_no_business_of_a_complex_step():
    leaf = nndiag.check_grads(lambda w: jnp.abs(w).sum(), np.zeros(3)).leaves[0]
    assert leaf.verdict == "undecided"
    assert leaf.method == "differences"


def test_what_differences_do_not_bear_out_is_left_to_them():
    # a complex power of a negative number is not the real one
    leaf = nndiag.check_grads(
        lambda w: jnp.power(w, np.array([4.0, 6.0])).sum(), np.array([-2.0, -0.3])
    ).leaves[0]
    assert leaf.verdict == "right"
    assert leaf.method == "differences"


def test_a_slope_that_differences_deny_is_not_taken():
    def square(x):
        return (x**2).sum()

    point = Point(square, (np.array([3.0]),), {}, None)
    step = complex_step(Program(square, point, has_aux=False))
    assert step is not None
    denied = Slope(value=5.0, bound=1e-6, jump=0.0, step=1e-3, noise=1e-16)
    borne_out = Slope(value=6.0, bound=1e-6, jump=0.0, step=1e-3, noise=1e-16)
    for slope, taken in ((denied, False), (borne_out, True)):
        found = step.sharpened(slope, point.vector, np.ones(1), 1.0)
        assert found.sharpened is taken
    assert found.value == 6.0 and found.bound < 1e-13


def test_the_rounding_of_a_derivative_counts():
    def cosh(x):
        return (jnp.exp(x) + jnp.exp(-x)).sum()

    with jax.enable_x64(True):
        x = np.array([1e-6])
        assert nndiag.check_grads(cosh, x, gradient=lambda x: 2 * jnp.sinh(x)).ok
