"""A digit classifier with Haiku, whose functions are made pure by `hk.transform`.

    nndiag run examples/haiku_mlp.py -- --steps 200

It knows nothing of nndiag.
"""

import argparse

import haiku as hk
import jax
import numpy as np
import optax

from mnist_model.data import load

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=200)
parser.add_argument("--save", help="file for the parameters")
options = parser.parse_args()


def forward(images):
    return hk.nets.MLP([128, 64, 10], activation=jax.nn.elu)(images)


network = hk.without_apply_rng(hk.transform(forward))
optimizer = optax.rmsprop(1e-3)


def loss(params, images, labels):
    logits = network.apply(params, images)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean()


@jax.jit
def update(params, state, images, labels):
    value, gradient = jax.value_and_grad(loss)(params, images, labels)
    updates, state = optimizer.update(gradient, state)
    return optax.apply_updates(params, updates), state, value


digits = load()
images = digits.train_images.reshape(-1, 784).astype(np.float32) / 255
labels = digits.train_labels.astype(np.int32)
images = (images - images.mean()) / images.std()
rng = np.random.default_rng(0)
params = network.init(jax.random.key(0), images[:1])
state = optimizer.init(params)
for step in range(options.steps):
    rows = rng.integers(0, len(images), 64)
    params, state, value = update(params, state, images[rows], labels[rows])
    if step % 100 == 0:
        print(f"step {step}: loss {value:.3f}")
if options.save:
    np.savez(options.save, *map(np.asarray, jax.tree.leaves(params)))
