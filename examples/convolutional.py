"""A convolutional digit classifier, its activations in bfloat16.

    nndiag run examples/convolutional.py -- --steps 200

It knows nothing of nndiag.
"""

import argparse
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mnist_model.data import load

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=200)
parser.add_argument("--save", help="file for the parameters")
options = parser.parse_args()

CHANNELS = (1, 4, 8)
optimizer = optax.adam(1e-3)


def init(key):
    first, second, third = jax.random.split(key, 3)
    return {
        "conv1": jax.random.normal(first, (3, 3, *CHANNELS[:2])) * np.sqrt(2 / 9),
        "conv2": jax.random.normal(second, (3, 3, *CHANNELS[1:])) * np.sqrt(2 / 36),
        "dense": jax.random.normal(third, (7 * 7 * CHANNELS[-1], 10)) * 0.03,
        "biases": jnp.zeros(10),
    }


def convolve(images, kernel):
    names = ("NHWC", "HWIO", "NHWC")
    x = jax.lax.conv_general_dilated(
        images, kernel.astype(images.dtype), (1, 1), "SAME", dimension_numbers=names
    )
    x = jax.nn.relu(x)
    return jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"
    )


def loss(params, images, labels):
    x = images.astype(jnp.bfloat16)
    for name in ("conv1", "conv2"):
        x = convolve(x, params[name])
    x = x.reshape(len(x), -1).astype(jnp.float32)
    logits = x @ params["dense"] + params["biases"]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean(), jnp.mean(logits.argmax(1) == labels)


@partial(jax.jit, static_argnames="with_accuracy")
def update(params, state, images, labels, *, with_accuracy=False):
    both, gradient = jax.value_and_grad(loss, has_aux=True)(params, images, labels)
    updates, state = optimizer.update(gradient, state)
    params = optax.apply_updates(params, updates)
    return params, state, both if with_accuracy else (both[0], None)


digits = load()
images = digits.train_images.reshape(-1, 28, 28, 1).astype(np.float32) / 255
labels = digits.train_labels.astype(np.int32)
rng = np.random.default_rng(0)
params = init(jax.random.key(0))
state = optimizer.init(params)
for step in range(options.steps):
    rows = rng.integers(0, len(images), 32)
    params, state, (value, accuracy) = update(
        params, state, images[rows], labels[rows], with_accuracy=True
    )
    if step % 100 == 0:
        print(f"step {step}: loss {value:.3f}, accuracy {accuracy:.2f}")
if options.save:
    np.savez(options.save, *map(np.asarray, jax.tree.leaves(params)))
