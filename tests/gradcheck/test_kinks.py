"""At kinks, jumps and cuts the check cannot decide, and says so."""

import jax
import jax.numpy as jnp
import pytest

from nndiag.gradcheck import check_grads

POINT = jnp.array([0.0, 1.0, -2.0, 0.0])
KINKS = {
    "relu": (lambda x: (jax.nn.relu(x) * jnp.arange(1.0, 5.0)).sum(), POINT, {0, 3}),
    "abs": (lambda x: jnp.abs(x).sum(), POINT, {0, 3}),
    "max": (jnp.max, jnp.array([1.0, 0.5, 1.0]), {0, 2}),
    "clip": (lambda x: jnp.clip(x, 0.0, 1.0).sum(), jnp.array([0.0, 0.5, 1.0]), {0, 2}),
    "sort": (lambda x: jnp.sort(x)[0], jnp.array([3.0, 1.0, 1.0]), {1, 2}),
    "where": (lambda x: jnp.where(x > 0, 2 * x, x).sum(), POINT, {0, 3}),
}


@pytest.mark.parametrize("name", KINKS)
def test_a_kink_is_undecided_at_the_elements_that_are_on_it(name):
    function, point, expected = KINKS[name]
    check = check_grads(function, point)
    assert check.ok is None
    assert [finding.code for finding in check.findings] == ["ND502"]
    assert {index[0] for index in check.leaves[0].kinks} == expected


@pytest.mark.parametrize("name", KINKS)
def test_the_same_function_off_its_kinks_is_right(name):
    function, point, _ = KINKS[name]
    moved = point + jnp.linspace(0.1, 0.3, point.size) ** 2
    assert check_grads(function, moved).ok


def test_a_tie_that_autodiff_gets_wrong_is_undecided():
    # relu(x) − relu(−x) = x; at 0 JAX says 0.
    check = check_grads(lambda x: (jax.nn.relu(x) - jax.nn.relu(-x)).sum(), POINT)
    assert check.ok is None


def test_a_wrong_gradient_is_wrong_beside_a_kink_as_well():
    function, point, _ = KINKS["relu"]
    check = check_grads(
        function, point, gradient=lambda x: jnp.array([0.0, 2.2, 0.0, 0.0])
    )
    assert check.ok is False
    assert check.leaves[0].worst_index == (1,)


def test_stop_gradient_is_no_error():
    check = check_grads(lambda x: (x * jax.lax.stop_gradient(x)).sum(), jnp.ones(2))
    assert check.ok is None
    assert check.leaves[0].explanation == "stop_gradient cuts this path"


def test_a_straight_through_round_is_no_error():
    def straight(x):
        return (x + jax.lax.stop_gradient(jnp.round(x) - x)).sum()

    assert check_grads(straight, jnp.array([0.3, 1.8])).ok is None


def test_a_wrong_gradient_behind_a_stop_gradient_is_wrong():
    # The cut in a softmax changes nothing, and excuses nothing.
    def loss(x):
        return jax.nn.logsumexp(x)

    x = jnp.array([0.1, 0.5, -0.2])
    assert check_grads(loss, x, gradient=jax.nn.softmax).ok
    assert check_grads(loss, x, gradient=lambda x: 1.1 * jax.nn.softmax(x)).ok is False


def test_equal_logits_are_no_kink():
    assert check_grads(jax.nn.logsumexp, jnp.zeros(4)).ok
