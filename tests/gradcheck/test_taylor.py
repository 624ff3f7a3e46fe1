"""The Taylor remainder falls with the square of the step, if the gradient is right."""

import jax.numpy as jnp
import numpy as np
import pytest

from nndiag.gradcheck import check_grads


def loss(x):
    return jnp.exp(x).sum()


def test_the_order_is_two_for_a_right_gradient():
    check = check_grads(loss, jnp.linspace(-1, 1, 7))
    assert check.taylor_order == pytest.approx(2, abs=0.05)
    assert list(check.taylor.steps) == sorted(check.taylor.steps, reverse=True)


def test_the_order_is_one_for_a_wrong_gradient():
    check = check_grads(
        loss, jnp.linspace(-1, 1, 7), gradient=lambda x: 1.1 * jnp.exp(x)
    )
    assert check.taylor_order == pytest.approx(1, abs=0.05)


def test_nothing_is_left_of_a_linear_function():
    assert np.isnan(check_grads(lambda x: 3 * x.sum(), jnp.ones(4)).taylor_order)
