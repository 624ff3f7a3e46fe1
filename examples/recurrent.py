"""A recurrent network that adds numbers up, its steps in time under `jax.lax.scan`.

    nndiag run examples/recurrent.py -- --steps 200

It knows nothing of nndiag.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import optax

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=200)
parser.add_argument("--save", help="file for the parameters")
options = parser.parse_args()

UNITS, LENGTH = 32, 20
optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(3e-3))


def init(key):
    first, second, third = jax.random.split(key, 3)
    return {
        "inputs": 0.5 * jax.random.normal(first, (1, UNITS)),
        "state": jax.random.orthogonal(second, UNITS),
        "biases": jnp.zeros(UNITS),
        "readout": jax.random.normal(third, (UNITS, 1)) / np.sqrt(UNITS),
    }


def loss(params, numbers, sums):
    def cell(state, number):
        z = number @ params["inputs"] + state @ params["state"] + params["biases"]
        return jnp.tanh(z), None

    start = jnp.zeros((len(sums), UNITS))
    state, _ = jax.lax.scan(cell, start, numbers)
    return jnp.mean((state @ params["readout"] - sums) ** 2)


@jax.jit
def update(params, state, numbers, sums):
    value, gradient = jax.value_and_grad(loss)(params, numbers, sums)
    updates, state = optimizer.update(gradient, state)
    return optax.apply_updates(params, updates), state, value


rng = np.random.default_rng(0)
params = init(jax.random.key(0))
state = optimizer.init(params)
for step in range(options.steps):
    numbers = rng.normal(size=(LENGTH, 64, 1)).astype(np.float32) / np.sqrt(LENGTH)
    params, state, value = update(params, state, numbers, numbers.sum(0))
    if step % 100 == 0:
        print(f"step {step}: loss {value:.3f}")
if options.save:
    np.savez(options.save, *map(np.asarray, jax.tree.leaves(params)))
