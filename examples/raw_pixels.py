"""A sigmoid network that breaks at once: squared bytes as inputs, softmax by hand.

    nndiag run examples/raw_pixels.py

It offers what a target offers and knows nothing of nndiag. Three things are wrong with
it: the inputs are pixels from 0 to 255, squared; `softmax` computes exp of scores that
nobody made small; and `loss` takes the logarithm of what may be 0.
"""

import jax
import jax.numpy as jnp

import mnist_model

SIZES = (784, 30, 10)

digits = mnist_model.target.with_settings(input_scaling="raw", batch_size=100)
epoch = digits.epoch


def init(key):
    """Weights 0.8·N(0, 1), as in many a first network."""
    keys = jax.random.split(key, len(SIZES))
    return [
        (0.8 * jax.random.normal(key, (inputs, units)), jnp.zeros(units))
        for key, inputs, units in zip(keys, SIZES, SIZES[1:], strict=False)
    ]


def sigmoid(z):
    """1 / (1 + e⁻ᶻ)."""
    return 1 / (1 + jnp.exp(-z))


def softmax(z):
    """The shares of the classes."""
    powers = jnp.exp(z)
    return powers / powers.sum(axis=1, keepdims=True)


def loss(weights, batch):
    """Cross-entropy, averaged over the batch."""
    signal = batch.images.reshape(len(batch.images), -1) ** 2
    (first, bias), (second, offset) = weights
    hidden = sigmoid(signal @ first + bias)
    shares = softmax(20 * hidden @ second + offset)
    picked = jnp.take_along_axis(shares, batch.labels[:, None], axis=1)
    return -jnp.mean(jnp.log(picked))


def train_step(weights, batch):
    """One step of gradient descent."""
    value, gradient = jax.value_and_grad(loss)(weights, batch)
    weights = jax.tree.map(lambda w, g: w - 0.5 * g, weights, gradient)
    return weights, {"loss": value}


def params(weights):
    """The state is nothing but the parameters."""
    return weights
