"""A digit classifier with Flax Linen and a `TrainState`.

    nndiag run examples/flax_linen.py -- --steps 200

It knows nothing of nndiag.
"""

import argparse
from functools import partial

import jax
import numpy as np
import optax
from flax import linen as nn
from flax.training.train_state import TrainState

from mnist_model.data import load

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=200)
parser.add_argument("--save", help="file for the parameters")
options = parser.parse_args()


class Classifier(nn.Module):
    """Two hidden layers."""

    @nn.compact
    def __call__(self, images):
        x = nn.silu(nn.Dense(128)(images))
        x = nn.tanh(nn.Dense(64)(x))
        return nn.Dense(10)(x)


@partial(jax.jit, donate_argnums=0)
def update(state, images, labels):
    def loss(params):
        logits = state.apply_fn({"params": params}, images)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return losses.mean()

    value, gradient = jax.value_and_grad(loss)(state.params)
    return state.apply_gradients(grads=gradient), {"loss": value}


digits = load()
images = digits.train_images.reshape(-1, 784).astype(np.float32) / 255
labels = digits.train_labels.astype(np.int32)
images = (images - images.mean()) / images.std()
rng = np.random.default_rng(0)
model = Classifier()
state = TrainState.create(
    apply_fn=model.apply,
    params=model.init(jax.random.key(0), images[:1])["params"],
    tx=optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3)),
)
for step in range(options.steps):
    rows = rng.integers(0, len(images), 64)
    state, metrics = update(state, images[rows], labels[rows])
    if step % 100 == 0:
        print(f"step {step}: loss {metrics['loss']:.3f}")
if options.save:
    np.savez(options.save, *map(np.asarray, jax.tree.leaves(state.params)))
