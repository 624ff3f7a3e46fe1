"""A small transformer on the letters of a text, its layers under `jax.lax.scan`.

    nndiag run examples/scanned_transformer.py -- --steps 200

It knows nothing of nndiag.
"""

import argparse
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=200)
parser.add_argument("--save", help="file for the parameters")
options = parser.parse_args()

TEXT = np.frombuffer(Path(__file__).read_bytes() * 4, np.uint8).astype(np.int32)
LAYERS, WIDTH, HEADS, LENGTH, VOCABULARY = 4, 32, 4, 16, 256
optimizer = optax.adam(optax.warmup_cosine_decay_schedule(0, 3e-3, 20, 400))


def init(key):
    keys = iter(jax.random.split(key, 8))

    def matrix(*shape):
        return jax.random.normal(next(keys), shape) / np.sqrt(shape[-2])

    return {
        "embedding": 0.02 * jax.random.normal(next(keys), (VOCABULARY, WIDTH)),
        "position": 0.02 * jax.random.normal(next(keys), (LENGTH, WIDTH)),
        "blocks": {
            "scale": jnp.ones((LAYERS, 2, WIDTH)),
            "attention": matrix(LAYERS, WIDTH, 3 * WIDTH),
            "output": matrix(LAYERS, WIDTH, WIDTH),
            "up": matrix(LAYERS, WIDTH, 4 * WIDTH),
            "down": matrix(LAYERS, 4 * WIDTH, WIDTH),
        },
        "head": matrix(WIDTH, VOCABULARY),
    }


def normalise(x, scale):
    return scale * x * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6)


def attend(x, block):
    queries, keys, values = jnp.split(x @ block["attention"], 3, axis=-1)
    split = lambda t: t.reshape(*t.shape[:-1], HEADS, WIDTH // HEADS)  # noqa: E731
    scores = jnp.einsum("bqhd,bkhd->bhqk", split(queries), split(keys))
    mask = jnp.tril(jnp.ones((LENGTH, LENGTH), bool))
    scores = jnp.where(mask, scores / np.sqrt(WIDTH // HEADS), -jnp.inf)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), split(values))
    return mixed.reshape(x.shape) @ block["output"]


@jax.checkpoint
def layer(x, block):
    x = x + attend(normalise(x, block["scale"][0]), block)
    hidden = jax.nn.gelu(normalise(x, block["scale"][1]) @ block["up"])
    return x + hidden @ block["down"], None


def loss(params, letters):
    x = params["embedding"][letters[:, :-1]] + params["position"]
    x, _ = jax.lax.scan(layer, x, params["blocks"])
    logits = normalise(x, 1.0) @ params["head"]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, letters[:, 1:])
    return losses.mean()


@partial(jax.jit, donate_argnums=(0, 1))
def update(params, state, letters):
    value, gradient = jax.value_and_grad(loss)(params, letters)
    updates, state = optimizer.update(gradient, state, params)
    return optax.apply_updates(params, updates), state, value


rng = np.random.default_rng(0)
params = init(jax.random.key(0))
state = optimizer.init(params)
for step in range(options.steps):
    starts = rng.integers(0, len(TEXT) - LENGTH - 1, 8)
    letters = TEXT[starts[:, None] + np.arange(LENGTH + 1)]
    params, state, value = update(params, state, letters)
    if step % 100 == 0:
        print(f"step {step}: loss {value:.3f}")
if options.save:
    np.savez(options.save, *map(np.asarray, jax.tree.leaves(params)))
