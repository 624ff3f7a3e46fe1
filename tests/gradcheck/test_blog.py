"""The blog's network, whose hand-written gradient is bent by a clip."""

import importlib.util
import inspect
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nndiag.gradcheck.explaining import explain

FILE = Path(__file__).resolve().parents[2] / "examples" / "blog_network.py"


@pytest.fixture(scope="module")
def blog():
    specification = importlib.util.spec_from_file_location("blog_network", FILE)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def arguments(blog):
    return blog.example_arguments()


def backprop_in_numpy(layers, batch, limit):
    """The gradient on paper: (ŷ − y) / max(ŷ(1 − ŷ), limit) · ŷ(1 − ŷ), and so on."""
    (w, b), (v, c) = [[np.asarray(a, np.float64) for a in layer] for layer in layers]
    x, y = (np.asarray(a, np.float64) for a in batch)
    hidden = 1 / (1 + np.exp(-(x @ w + b)))
    answers = 1 / (1 + np.exp(-(hidden @ v + c)))
    slope = answers * (1 - answers)
    output = (answers - y) * slope / np.maximum(slope, limit)
    inner = output @ v.T * hidden * (1 - hidden)
    return [x.T @ inner, inner.sum(0), hidden.T @ output, output.sum(0)], slope


def joined(leaves):
    return np.concatenate([np.ravel(leaf) for leaf in leaves])


def test_backprop_is_the_gradient_of_the_blog_and_not_of_its_loss(blog, arguments):
    clipped, _ = backprop_in_numpy(*arguments, limit=0.01)
    right, _ = backprop_in_numpy(*arguments, limit=0)
    for found, expected in (
        (blog.backprop(*arguments), clipped),
        (jax.grad(blog.loss)(*arguments), right),
    ):
        vector = joined(jax.tree.leaves(found))
        scale = np.abs(joined(expected)).max()
        np.testing.assert_allclose(vector, joined(expected), atol=1e-5 * scale)


def test_the_clip_is_blamed_with_its_line_and_by_how_much_it_bends(blog, arguments):
    clipped, slope = backprop_in_numpy(*arguments, limit=0.01)
    right, _ = backprop_in_numpy(*arguments, limit=0)
    bend = np.linalg.norm(joined(clipped) - joined(right)) / np.linalg.norm(
        joined(right)
    )
    assert bend > 0.1
    found = explain(
        clipped,
        right,
        jax.tree.leaves(arguments[0]),
        paths=["layers[0][0]", "layers[0][1]", "layers[1][0]", "layers[1][1]"],
        fn=blog.loss,
        gradient=blog.backprop,
        args=arguments,
    )
    lines, start = inspect.getsourcelines(blog.log_loss_derivative)
    line = start + next(i for i, text in enumerate(lines) if "jnp.clip" in text)
    assert (found.cause, found.line) == ("clipped inside", line)
    cut = int((slope < 0.01).sum())
    assert found.text.startswith(
        f"your gradient is bent by {bend:.0%} in norm by the clip at "
        f"blog_network.py:{line} (at least 0.01, at most 0.99, {cut:,} of 10,000 "
        "elements changed); without it, it is the derivative to "
    )
    assert found.residual < 1e-9
    assert all(found.leaves)


def test_it_is_a_target_whose_steps_run(blog, arguments):
    layers, batch = arguments
    stacked = blog.epoch(jax.random.key(0))
    assert stacked.pixels.shape == (50, 1000, 784)
    np.testing.assert_array_equal(stacked.pixels[1, :-1], stacked.pixels[0, 1:])
    changed, metrics = blog.train_step(layers, batch)
    reported = np.linalg.norm(
        np.asarray(blog.forward(layers, batch.pixels)[1]) - np.asarray(batch.classes),
        axis=0,
    ).sum()
    assert jnp.isclose(metrics["loss"], reported, rtol=1e-5)
    gradient = blog.backprop(layers, batch)
    for before, after, slope in zip(
        *map(jax.tree.leaves, (layers, changed, gradient)), strict=True
    ):
        np.testing.assert_allclose(
            after, before * (1 + 2 * slope / 1000), rtol=1e-4, atol=1e-5
        )
    assert blog.params(layers) is layers
