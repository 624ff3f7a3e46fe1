"""One cause for a wrong gradient, found by taking a right one and planting it."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given as generated
from hypothesis import settings
from hypothesis import strategies as st

from nndiag.gradcheck.comparing import distance, relate
from nndiag.gradcheck.explaining import explain

ROWS = 24
PATHS = ["w", "b"]
RANDOM = np.random.default_rng(7)
W, B = RANDOM.standard_normal((5, 5)), RANDOM.standard_normal(5)
X, Y = RANDOM.standard_normal((ROWS, 5)), RANDOM.standard_normal((ROWS, 5))


def loss(w, b, x, y):
    return jnp.mean(jnp.sum((jnp.tanh(x @ w + b) - y) ** 2, axis=1))


def derivative(w, b, x, y):
    """The gradient of `loss`, on paper."""
    out = np.tanh(x @ w + b)
    inner = 2 * (out - y) * (1 - out**2) / len(x)
    return [x.T @ inner, inner.sum(axis=0)]


RIGHT = derivative(W, B, X, Y)


def explained(wrong, gradient=None, rounding=None):
    return explain(
        wrong,
        RIGHT,
        [W, B],
        paths=PATHS,
        rounding=rounding,
        fn=loss,
        gradient=gradient,
        args=(W, B, X, Y),
    )


def test_a_right_gradient_needs_no_explanation():
    assert explained(RIGHT).cause == ""
    assert explained(RIGHT).text == ""
    rounded = [leaf.astype(np.float32) for leaf in RIGHT]
    assert explained(rounded).text == ""


WHOLE = {
    "sign": (lambda g, p: -g, "negative of the derivative"),
    "factor": (lambda g, p: ROWS * g, "x has 24 rows, so a sum over them"),
    "factor ": (lambda g, p: g / ROWS, "a mean over them stands"),
    "factor  ": (lambda g, p: 2 * g, "the 2 of a square"),
    "factor   ": (lambda g, p: 3.7 * g, "3.7 times the derivative"),
    "update": (lambda g, p: -0.1 * g, "this is the update, with learning rate 0.1"),
    "update ": (lambda g, p: -0.03 * ROWS * g, "0.03, summed over the 24 rows of x"),
    "update  ": (
        lambda g, p: -0.025 * g,
        "this is the update, with learning rate 0.025",
    ),
    "times parameter": (lambda g, p: 0.002 * g * p, "0.002 times the derivative times"),
    "parameters": (lambda g, p: p - 0.05 * g, "learning rate 0.05"),
    "weight penalty": (lambda g, p: g + 0.01 * p, "plus 0.01 times the parameters"),
    "weight penalty ": (lambda g, p: g - 0.01 * p, "penalty is missing"),
    "sign only": (lambda g, p: np.sign(g), "the sign of the derivative"),
    "zero": (lambda g, p: 0 * g, "zero: nothing flows back"),
}


@pytest.mark.parametrize("cause", WHOLE)
def test_one_cause_for_all_leaves(cause):
    plant, words = WHOLE[cause]
    found = explained([plant(g, p) for g, p in zip(RIGHT, (W, B), strict=True)])
    assert (found.cause, found.file) == (cause.strip(), "")
    assert words in found.text
    assert found.text.startswith("your gradient is ")
    assert all(found.leaves)
    assert found.residual < 1e-9


def test_the_sentence_of_the_sum_that_should_be_a_mean():
    assert explained([ROWS * g for g in RIGHT]).text == (
        "your gradient is 24 times the derivative: x has 24 rows, so a sum over them "
        "stands where the function takes the mean"
    )


def test_clipping_by_value_and_by_norm_finds_the_limit():
    limit = 0.6 * max(np.abs(leaf).max() for leaf in RIGHT)
    clipped = explained([np.clip(leaf, -limit, limit) for leaf in RIGHT])
    assert clipped.cause == "clipped"
    assert f"clipped to ±{limit:.4g}" in clipped.text
    count = sum(int((np.abs(leaf) > limit).sum()) for leaf in RIGHT)
    assert f"cuts {count} of 30 elements" in clipped.text
    norm = np.sqrt(sum((leaf**2).sum() for leaf in RIGHT))
    assert norm > 0.5
    scaled = explained([0.5 * leaf / norm for leaf in RIGHT])
    assert scaled.cause == "clipped"
    assert f"from norm {norm:.4g} to norm 0.5" in scaled.text


LEAVES = {
    "transposed": (RIGHT[0].T, "its axes in the order (1, 0)"),
    "reversed": (RIGHT[0][::-1], "axis 0 reversed"),
    "shifted": (np.roll(RIGHT[0], 1, axis=0), "shifted by +1 along axis 0"),
    "shifted ": (
        np.vstack([RIGHT[0][1:], np.zeros((1, 5))]),
        "shifted by -1 along axis 0, zero at the edge",
    ),
    "averaged": (
        np.broadcast_to(RIGHT[0].sum(1, keepdims=True), (5, 5)),
        "the sum of the derivative over axis 1",
    ),
    "detached": (RIGHT[0] * (np.arange(5) != 3)[:, None], "zero in row 3"),
    "detached ": (RIGHT[0] * (np.arange(5) < 3), "zero in columns 3 to 4"),
    "zero": (0 * RIGHT[0], "zero: nothing flows back"),
    "sign": (-RIGHT[0], "the negative of the derivative"),
    "factor": (RIGHT[0] * ROWS, "x has 24 rows"),
    "elements": (
        RIGHT[0] * np.where(np.arange(25).reshape(5, 5) == 13, 1.01, 1),
        "except at [2, 3], where it is 1.01 times that",
    ),
    "elements ": (
        RIGHT[0] * np.where(np.arange(5) == 1, -1.0, 1),
        "except in column 1, where it is -1 times that",
    ),
}


@pytest.mark.parametrize("cause", LEAVES)
def test_one_cause_for_one_leaf(cause):
    wrong, words = LEAVES[cause]
    found = explained([wrong, RIGHT[1]])
    assert found.cause == cause.strip()
    assert words in found.leaves[0]
    assert found.leaves[1] == ""
    assert found.text.startswith("your gradient of w is ")


def test_two_leaves_that_were_swapped():
    a, b = np.arange(4.0), np.array([3.0, 1.0, 4.0, 1.0])
    found = explain([b, a, a], [a, b, a], [a, a, a], paths=["p", "q", "r"])
    assert found.cause == "swapped"
    assert found.text == "the gradients of p and q are swapped"
    assert found.leaves == (
        "the derivative with respect to q",
        "the derivative with respect to p",
        "",
    )


def test_a_gradient_of_the_transposed_shape():
    tall = np.arange(6.0).reshape(3, 2)
    found = explain([tall.T], [tall], [tall], paths=["w"])
    assert found.cause == "transposed"
    assert "(1, 0)" in found.text


def by_hand(z):
    return 1 / (1 + jnp.exp(-z))


def rectified(z):
    return jax.nn.relu(z)


def squashed(z):
    return jax.nn.sigmoid(z)


@pytest.mark.parametrize(
    ("activation", "words"),
    [
        (squashed, "the activation sigmoid"),
        (by_hand, "the activation"),
        (rectified, "relu"),
    ],
)
@pytest.mark.parametrize("factor", [1, -0.5])
@pytest.mark.parametrize("forgotten", ["both", "first"])
def test_a_missing_activation_derivative_is_placed_at_the_activation(
    activation, words, factor, forgotten
):
    def loss(w, u, v, x):
        hidden = activation(activation(x @ w) @ u)
        return jnp.sum(hidden @ v)

    def forgetful(w, u, v, x):
        """`loss` differentiated on paper, without derivatives of the activation."""
        first = activation(x @ w)
        second = activation(first @ u)
        z = first @ u
        slope = jax.grad(lambda z: activation(z).sum())(z)
        inner = jnp.ones((len(x), 1)) @ v.T * (1 if forgotten == "both" else slope)
        return [
            x.T @ (inner @ u.T),
            first.T @ inner,
            second.T @ jnp.ones((len(x), 1)),
        ]

    with jax.enable_x64(True):
        values = [jnp.asarray(a) for a in (W, W.T + 0.3, B[:, None], X)]
        right = jax.grad(loss, argnums=(0, 1, 2))(*values)
        wrong = [factor * leaf for leaf in forgetful(*values)]
    found = explain(
        wrong,
        right,
        values[:3],
        paths=["w", "u", "v"],
        fn=loss,
        gradient=forgetful,
        args=values,
    )
    assert found.cause == "missing activation derivative"
    line = inspect.getsourcelines(activation)[1] + 1
    uses = " (2 uses)" if forgotten == "both" else ""
    assert f"{words} at test_explaining.py:{line}{uses} is taken as 1" in found.text
    assert ("-0.5 times what" in found.text) == (factor != 1)
    assert found.line == line
    assert found.residual < 1e-9


def clipping(w, b, x, y):
    """`derivative`, but for a clip in the middle."""
    out = jnp.tanh(x @ w + b)
    error = jnp.clip(out - y, -0.5, 0.5)
    inner = 2 * error * (1 - out**2) / len(x)
    return [x.T @ inner, inner.sum(axis=0)]


def test_a_clip_inside_the_gradient_is_found_by_taking_it_out():
    with jax.enable_x64(True):
        wrong = [np.asarray(leaf) for leaf in clipping(W, B, X, Y)]
    found = explained(wrong, clipping)
    assert found.cause == "clipped inside"
    lines, start = inspect.getsourcelines(clipping)
    line = start + next(i for i, text in enumerate(lines) if "jnp.clip" in text)
    assert found.line == line
    cut = int((np.abs(np.tanh(X @ W + B) - Y) > 0.5).sum())
    assert f"{cut} of 120 elements changed" in found.text
    assert "at least -0.5, at most 0.5" in found.text
    flat = [np.concatenate([a.ravel() for a in leaves]) for leaves in (wrong, RIGHT)]
    bend = np.linalg.norm(flat[0] - flat[1]) / np.linalg.norm(flat[1])
    assert f"bent by {bend:.0%} in norm" in found.text


def test_an_unexplained_gradient_says_so_and_where_it_is_worst():
    noise = np.random.default_rng(1).standard_normal((5, 5))
    noise[4, 2] = 50
    found = explained([RIGHT[0] + noise, RIGHT[1]])
    assert found.cause == ""
    assert "not explained by a single cause" in found.text
    assert "the largest difference is at [4, 2]" in found.text
    assert found.leaves[1] == ""
    assert found.residual > 0.5


def test_each_leaf_has_its_own_fault():
    found = explained([RIGHT[0].T, -RIGHT[1]])
    assert found.cause == ""
    assert "your gradient of w is the derivative with its axes" in found.text
    assert "your gradient of b is the negative" in found.text


@settings(max_examples=50, deadline=None)
@generated(st.integers(0, 10_000))
def test_random_arrays_are_never_explained(seed):
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(2, 5, random.integers(1, 4)))
    if np.prod(shape) < 5:
        return
    a, b, w = (random.standard_normal(shape) for _ in range(3))
    assert relate(a, b, w, rounding=1e-9) is None


def test_distance_is_relative_to_what_was_given():
    assert distance(np.array([0.0, 5.0]), np.array([3.0, 1.0])) == 1
    assert distance(np.zeros(2), np.zeros(2)) == 0
