"""A digit classifier with Equinox: filtered transformations, a module as parameters.

    nndiag run examples/equinox_mlp.py -- --steps 200

It knows nothing of nndiag.
"""

import argparse

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from mnist_model.data import load

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=200)
parser.add_argument("--save", help="file for the parameters")
options = parser.parse_args()

optimizer = optax.sgd(0.05, momentum=0.9)


@eqx.filter_value_and_grad
def loss(model, images, labels):
    logits = jax.vmap(model)(images)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return jnp.mean(losses)


@eqx.filter_jit
def update(model, state, images, labels):
    value, gradient = loss(model, images, labels)
    updates, state = optimizer.update(gradient, state, model)
    return eqx.apply_updates(model, updates), state, value


digits = load()
images = digits.train_images.reshape(-1, 784).astype(np.float32) / 255
labels = digits.train_labels.astype(np.int32)
images = (images - images.mean()) / images.std()
rng = np.random.default_rng(0)
model = eqx.nn.MLP(784, 10, 96, depth=2, key=jax.random.key(0))
state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))
for step in range(options.steps):
    rows = rng.integers(0, len(images), 64)
    model, state, value = update(model, state, images[rows], labels[rows])
    if step % 100 == 0:
        print(f"step {step}: loss {value:.3f}")
if options.save:
    leaves = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    np.savez(options.save, *map(np.asarray, leaves))
