"""Faults of backpropagation on paper, each named by the program that it is of."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nndiag.gradcheck import check_grads
from nndiag.gradcheck.explaining import explain

from .zoo.sequences import PARAMS, network, through_time

SIDE = 4
RANDOM = np.random.default_rng(11)
X, W, V, T = RANDOM.standard_normal((4, SIDE, SIDE))


def explained(loss, point, wrong):
    """The words for `wrong`, a gradient of `loss` by its only argument."""
    with jax.enable_x64(True):
        right = np.asarray(jax.grad(loss)(jnp.asarray(point)))
    name = next(iter(inspect.signature(loss).parameters))
    return explain([wrong], [right], [point], paths=[name], fn=loss, args=(point,)).text


def line_of(function, words):
    lines, first = inspect.getsourcelines(function)
    return first + next(i for i, line in enumerate(lines) if words in line)


def normed(x):
    centred = x - jnp.mean(x, 1, keepdims=True)
    variance = jnp.mean(centred**2, 1, keepdims=True)
    return jnp.sum(V * centred / jnp.sqrt(variance + 0.1))


def normed_on_paper(x, mean=1.0, variance=1.0):
    centred = x - x.mean(1, keepdims=True)
    inverse = 1 / np.sqrt((centred**2).mean(1, keepdims=True) + 0.1)
    hat = centred * inverse
    means = mean * V.mean(1, keepdims=True)
    slopes = variance * (V * hat).mean(1, keepdims=True)
    return inverse * (V - means - hat * slopes)


def test_the_formula_on_paper_is_the_derivative():
    with jax.enable_x64(True):
        right = jax.grad(normed)(jnp.asarray(X))
    np.testing.assert_allclose(normed_on_paper(X), right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("factors", "said", "at"),
    [
        (
            {"mean": 0},
            "without the term that flows back through reduce_sum",
            "jnp.mean(x",
        ),
        (
            {"variance": 0},
            "without the term that flows back through integer_pow",
            "**2",
        ),
        ({"variance": -1}, "with the opposite sign of the term", "**2"),
        ({"variance": SIDE}, "with 4 times the term", "**2"),
        ({"mean": 0, "variance": 0}, "reduce_sum at test_slips.py", "jnp.mean(x"),
    ],
)
def test_a_term_that_is_left_out_or_scaled_is_placed(factors, said, at):
    words = explained(normed, X, normed_on_paper(X, **factors))
    assert said in words
    assert f"test_slips.py:{line_of(normed, at)}" in words
    assert ("a sum stands where" in words) == (SIDE in factors.values())


def product(w):
    hidden = jnp.tanh(X @ w)
    return jnp.sum(T * (hidden @ V))


def product_on_paper(w, back=V.T, slope=lambda x, y: 1 - y * y):
    before = X @ w
    return X.T @ ((T @ back) * slope(before, np.tanh(before)))


@pytest.mark.parametrize(
    ("changes", "said", "at"),
    [
        ({"back": V}, "passes back through its right factor, not transposed", "@ V"),
        ({"slope": lambda x, y: 1 - x * x}, "1 − y², of its input", "tanh"),
        ({"slope": lambda x, y: 1 - y}, "1 − y, not 1 − y²", "tanh"),
        ({"slope": lambda x, y: 1}, "tanh at test_slips.py", "tanh"),
    ],
)
def test_a_slip_in_one_rule_is_placed(changes, said, at):
    words = explained(product, W, product_on_paper(W, **changes))
    assert said in words
    assert f"test_slips.py:{line_of(product, at)}" in words


def shifted(bias):
    return jnp.sum(T * jnp.sin(X + bias))


def test_a_sum_over_the_wrong_axis_is_named():
    bias = V[0]
    wrong = (T * np.cos(X + bias)).sum(1)
    assert "is summed over the wrong axis" in explained(shifted, bias, wrong)


def kinked(x):
    return jnp.sum(T * jnp.where(jnp.abs(x) < 1, x**2, 2 * jnp.abs(x) - 1))


def test_one_side_of_a_where_used_everywhere_is_named():
    assert "beyond the threshold" in explained(kinked_of_sums, 2 * W, on_paper(2 * W))


def test_what_differs_beyond_a_size_is_told_by_the_size():
    assert "except beyond about ±0.973, by the parameter's size" in explained(
        kinked, 2 * X, 4 * T * X
    )


def kinked_of_sums(w):
    return kinked(X @ w)


def on_paper(w):
    return X.T @ (2 * T * (X @ w))


TABLE, ROWS = RANDOM.standard_normal((6, 3)), np.array([4, 1, 4, 0])
SLOPES = RANDOM.standard_normal((4, 3))


def looked_up(table):
    return jnp.sum(SLOPES * table[ROWS])


def test_a_lookup_that_overwrites_or_is_off_by_one_is_named():
    overwritten, later = np.zeros_like(TABLE), np.zeros_like(TABLE)
    overwritten[ROWS] = SLOPES
    np.add.at(later, ROWS + 1, SLOPES)
    assert "only the last term counts" in explained(looked_up, TABLE, overwritten)
    said = explained(looked_up, TABLE, later)
    assert "shifted by +1 along axis 0" in said or "off by one" in said


def recurrent(w):
    def step(state, x):
        state = jnp.tanh(state @ w + x)
        return state, state

    return jnp.sum(T * jax.lax.scan(step, jnp.zeros(SIDE), X)[1])


def recurrent_on_paper(w, shift=0, through=1.0):
    states = [np.zeros(SIDE)]
    for x in X:
        states.append(np.tanh(states[-1] @ w + x))
    gradient, back = np.zeros_like(w), np.zeros(SIDE)
    for t in reversed(range(len(X))):
        delta = (T[t] + back) * (1 - states[t + 1] ** 2)
        gradient += np.outer(states[t + shift], delta)
        back = through * (delta @ w.T)
    return gradient


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shift": 1}, "at the state of the next iteration"),
        ({"through": 0}, "without the term that flows back through dot_general"),
    ],
)
def test_a_slip_in_a_loop_is_found_in_all_iterations_together(changes, said):
    words = explained(recurrent, 0.7 * W, recurrent_on_paper(0.7 * W, **changes))
    assert said in words
    assert f"test_slips.py:{line_of(recurrent, '@ w')}" in words


def test_what_no_slip_makes_is_not_explained():
    wrong = normed_on_paper(X) * RANDOM.uniform(0.9, 1.1, X.shape)
    assert "not explained by a single cause" in explained(normed, X, wrong)


def test_a_loop_of_which_only_the_last_iteration_is_differentiated_is_named():
    def gradient(params):
        return through_time(params, fault="last step")

    found = check_grads(network, PARAMS, gradient=gradient)
    assert "only the last iteration of the loop at sequences.py" in found.cause.text
