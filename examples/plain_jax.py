"""A digit classifier in plain JAX: parameters in a list, updates by hand.

    nndiag run examples/plain_jax.py -- --steps 200

It knows nothing of nndiag.
"""

import argparse
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from mnist_model.data import load

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=200)
parser.add_argument("--save", help="file for the parameters")
options = parser.parse_args()

SIZES = (784, 128, 64, 10)
RATE = 0.1


def init(key):
    layers = []
    for inputs, units in itertools.pairwise(SIZES):
        key, own = jax.random.split(key)
        weights = jax.random.normal(own, (inputs, units)) * np.sqrt(2 / inputs)
        layers.append({"weights": weights, "biases": jnp.zeros(units)})
    return layers


def loss(layers, images, labels):
    x = images
    for layer in layers[:-1]:
        x = jax.nn.relu(x @ layer["weights"] + layer["biases"])
    logits = x @ layers[-1]["weights"] + layers[-1]["biases"]
    right = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
    return -right.mean()


@jax.jit
def update(layers, images, labels):
    value, gradient = jax.value_and_grad(loss)(layers, images, labels)
    return jax.tree.map(lambda p, g: p - RATE * g, layers, gradient), value


digits = load()
images = digits.train_images.reshape(-1, 784).astype(np.float32) / 255
labels = digits.train_labels.astype(np.int32)
images = (images - images.mean()) / images.std()
rng = np.random.default_rng(0)
layers = init(jax.random.key(0))
for step in range(options.steps):
    rows = rng.integers(0, len(images), 64)
    layers, value = update(layers, images[rows], labels[rows])
    if step % 100 == 0:
        print(f"step {step}: loss {value:.3f}")
if options.save:
    np.savez(options.save, *map(np.asarray, jax.tree.leaves(layers)))
