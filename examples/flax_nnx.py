"""A digit classifier with Flax NNX and optax's Adam.

    nndiag run examples/flax_nnx.py -- --steps 200

It knows nothing of nndiag.
"""

import argparse

import jax
import numpy as np
import optax
from flax import nnx

from mnist_model.data import load

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=200)
parser.add_argument("--save", help="file for the parameters")
options = parser.parse_args()


class Classifier(nnx.Module):
    """Two hidden layers with dropout between them."""

    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Linear(784, 128, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)
        self.second = nnx.Linear(128, 64, rngs=rngs)
        self.norm = nnx.LayerNorm(64, rngs=rngs)
        self.last = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, images):
        x = self.dropout(nnx.relu(self.first(images)))
        x = self.norm(nnx.gelu(self.second(x)))
        return self.last(x)


def loss(model, images, labels):
    losses = optax.softmax_cross_entropy_with_integer_labels(model(images), labels)
    return losses.mean()


@nnx.jit
def update(model, optimizer, images, labels):
    value, gradient = nnx.value_and_grad(loss)(model, images, labels)
    optimizer.update(model, gradient)
    return value


digits = load()
images = digits.train_images.reshape(-1, 784).astype(np.float32) / 255
labels = digits.train_labels.astype(np.int32)
images = (images - images.mean()) / images.std()
rng = np.random.default_rng(0)
model = Classifier(nnx.Rngs(0))
optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)
for step in range(options.steps):
    rows = rng.integers(0, len(images), 64)
    value = update(model, optimizer, images[rows], labels[rows])
    if step % 100 == 0:
        print(f"step {step}: loss {value:.3f}")
if options.save:
    leaves = jax.tree.leaves(nnx.state(model, nnx.Param))
    np.savez(options.save, *map(np.asarray, leaves))
