r"""A first network, its backpropagation by hand, as a blog post published it.

    nndiag gradcheck examples/blog_network.py:loss \
        --gradient examples/blog_network.py:backprop

It knows nothing of nndiag. Its author saw the reported loss fall while the accuracy
fell below chance, and gave up on the sigmoid. Three things are wrong with it:

- `backprop` divides by ŷ(1 − ŷ), clipped so that nothing is divided by 0: what comes
  out is not the gradient of `loss`;
- `train_step` adds the gradient times the weight;
- `epoch` cuts its batches one row apart, so that an epoch sees few of the rows.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp

import mnist_model

SIZES = (784, 5, 10)
BATCH = 1000
STEPS = 50

digits = mnist_model.target.with_settings(batch_size=2 * BATCH)


class Batch(NamedTuple):
    """Rows of pixels from 0 to 1, and of the ten classes, 1 for the right one."""

    pixels: jax.Array
    classes: jax.Array


def init(key):
    """Weights 0.8·N(0, 1), biases N(0, 1)."""
    layers = []
    for inputs, units in itertools.pairwise(SIZES):
        key, for_weights, for_biases = jax.random.split(key, 3)
        weights = 0.8 * jax.random.normal(for_weights, (inputs, units))
        layers.append((weights, jax.random.normal(for_biases, (units,))))
    return layers


def sigmoid(z):
    """1 / (1 + e⁻ᶻ): the smaller of two forms, either of which could overflow."""
    z = jnp.clip(z, -60, 60)
    return jnp.minimum(1 / (1 + jnp.exp(-z)), jnp.exp(z) / (1 + jnp.exp(z)))


def forward(layers, pixels):
    """What each layer puts out."""
    (weights, biases), (weights_2, biases_2) = layers
    hidden = sigmoid(pixels @ weights + biases)
    return hidden, sigmoid(hidden @ weights_2 + biases_2)


def loss(layers, batch):
    """Log-loss of ten yes-or-no answers, summed over the batch."""
    _, answers = forward(layers, batch.pixels)
    right = batch.classes * jnp.log(answers)
    wrong = (1 - batch.classes) * jnp.log(1 - answers)
    return -jnp.sum(right + wrong)


def log_loss_derivative(answers, classes):
    """(ŷ − y) / (ŷ(1 − ŷ)), made safe from a division by 0."""
    return (answers - classes) / jnp.clip(answers * (1 - answers), 0.01, 0.99)


def backprop(layers, batch):
    """The gradient of `loss`, by hand."""
    weights_2, _ = layers[1]
    hidden, answers = forward(layers, batch.pixels)
    output = log_loss_derivative(answers, batch.classes) * answers * (1 - answers)
    inner = (output @ weights_2.T) * hidden * (1 - hidden)
    return [
        (batch.pixels.T @ inner, inner.sum(axis=0)),
        (hidden.T @ output, output.sum(axis=0)),
    ]


def train_step(layers, batch):
    """What was meant to be a step down the gradient."""
    _, answers = forward(layers, batch.pixels)
    reported = jnp.linalg.norm(answers - batch.classes, axis=0).sum()
    layers = jax.tree.map(
        lambda value, gradient: value + 2 * gradient / BATCH * value,
        layers,
        backprop(layers, batch),
    )
    return layers, {"loss": reported}


def shuffled(key):
    """2000 rows in random order."""
    images, labels = jax.tree.map(lambda array: array[0], digits.epoch(key))
    return Batch(images.reshape(2 * BATCH, -1), jax.nn.one_hot(labels, SIZES[-1]))


def epoch(key):
    """Batches of 1000 rows: 0 to 999, 1 to 1000, 2 to 1001, and so on."""
    rows = jnp.arange(STEPS)[:, None] + jnp.arange(BATCH)
    return jax.tree.map(lambda array: array[rows], shuffled(key))


def params(layers):
    """The state is nothing but the parameters."""
    return layers


def example_arguments():
    """Where `nndiag gradcheck` looks: a batch, and the layers after one step on it.

    Fresh layers give no answer near 0 or 1, where alone the clip acts.
    """
    batch = jax.tree.map(lambda array: array[:BATCH], shuffled(jax.random.key(1)))
    layers, _ = jax.jit(train_step)(jax.jit(init)(jax.random.key(1)), batch)
    return layers, batch
