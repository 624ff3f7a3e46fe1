"""What guarding a step and examining a broken one cost.

    python benchmarks/breakdown.py [--pairs 41]

First the guarded step against the bare one and against checkify's float checks
(MLP 784-512-512-10, batch 128), interleaved in one process: median and quartiles of the
ratios. Then the autopsy of that step with a NaN in it and of the step of an 8-layer
transformer, cold (in a fresh process, after `import jax`) and warm, in seconds.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.experimental import checkify

import nndiag

SIZES = (784, 512, 512, 10)
STEPS = 24
WIDTH, HEADS, LAYERS, WORDS, LENGTH, BATCH = 128, 4, 8, 256, 64, 8
AT_MOST = {"mlp cold": 2.0, "mlp warm": 0.2, "transformer cold": 10.0}


def mlp(scale=1.0):
    """Parameters, one batch and the step; at scale 300, exp overflows."""
    keys = jax.random.split(jax.random.key(0), len(SIZES))
    params = [
        (jax.random.normal(k, (a, b)) / a**0.5, jnp.zeros(b))
        for k, a, b in zip(keys, SIZES, SIZES[1:], strict=False)
    ]
    batch = (
        scale * jax.random.normal(keys[-1], (128, SIZES[0])),
        jax.nn.one_hot(jnp.arange(128) % SIZES[-1], SIZES[-1]),
    )

    def loss(params, batch):
        x, y = batch
        for weight, bias in params[:-1]:
            x = jax.nn.relu(x @ weight + bias)
        powers = jnp.exp(x @ params[-1][0] + params[-1][1])
        shares = powers / powers.sum(1, keepdims=True)
        return -jnp.mean(jnp.sum(y * jnp.log(shares), 1))

    return params, batch, descend(loss)


def transformer():
    """The same of a causal transformer whose last softmax overflows."""
    keys = iter(jax.random.split(jax.random.key(0), 8 * LAYERS))

    def draw(*shape):
        return 0.02 * jax.random.normal(next(keys), shape)

    params = {
        "words": draw(WORDS, WIDTH),
        "layers": [
            {name: draw(WIDTH, WIDTH) for name in "qkvo"}
            | {"up": draw(WIDTH, 4 * WIDTH), "down": draw(4 * WIDTH, WIDTH)}
            for _ in range(LAYERS)
        ],
    }

    def norm(x):
        centred = x - x.mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-6)

    def block(x, layer):
        shape = BATCH, LENGTH, HEADS, WIDTH // HEADS
        q, k, v = ((norm(x) @ layer[name]).reshape(shape) for name in "qkv")
        scores = jnp.einsum("bthd,bshd->bhts", q, k) / shape[-1] ** 0.5
        seen = jnp.tril(jnp.ones((LENGTH, LENGTH), bool))
        weights = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf))
        mixed = jnp.einsum("bhts,bshd->bthd", weights, v)
        x = x + mixed.reshape(x.shape) @ layer["o"]
        return x + jax.nn.gelu(norm(x) @ layer["up"]) @ layer["down"]

    def loss(params, words):
        x = params["words"][words]
        for layer in params["layers"]:
            x = block(x, layer)
        powers = jnp.exp(1000 * norm(x) @ params["words"].T)
        shares = powers / powers.sum(-1, keepdims=True)
        picked = jnp.take_along_axis(shares[:, :-1], words[:, 1:, None], -1)
        return -jnp.mean(jnp.log(picked))

    words = jax.random.randint(next(keys), (BATCH, LENGTH), 0, WORDS)
    return params, words, descend(loss)


def descend(loss):
    def step(params, batch):
        value, gradients = jax.value_and_grad(loss)(params, batch)
        after = jax.tree.map(lambda p, g: p - 1e-3 * g, params, gradients)
        return after, {"loss": value}

    return step


def autopsies(name):
    """Prints the seconds of a first and of later autopsies."""
    params, batch, step = transformer() if name == "transformer" else mlp(300.0)
    jax.block_until_ready((params, batch))
    seconds = []
    for _ in range(4):
        began = time.perf_counter()
        found = nndiag.autopsy(step, params, batch)
        seconds.append(time.perf_counter() - began)
        assert found is not None and found.primitive == "div"
    print(seconds[0], statistics.median(seconds[1:]))


def guarding(pairs):
    params, batch, step = mlp()
    batches = jax.tree.map(lambda x: jnp.broadcast_to(x, (STEPS, *x.shape)), batch)
    guarded = nndiag.guard(step)
    start = guarded.start(params, batch)
    checked = checkify.checkify(step, errors=checkify.float_checks)

    def check(params, batch):
        error, (params, metrics) = checked(params, batch)
        return params, (error, metrics)

    bare = jax.jit(lambda s, b: jax.lax.scan(step, s, b))
    variants = {
        "bare again": (bare, params),
        "guarded": (jax.jit(lambda s, b: jax.lax.scan(guarded, s, b)), start),
        "checkify": (jax.jit(lambda s, b: jax.lax.scan(check, s, b)), params),
    }

    def seconds(run, state):
        began = time.perf_counter()
        jax.block_until_ready(run(state, batches))
        return time.perf_counter() - began

    for run, state in ((bare, params), *variants.values()):
        seconds(run, state)
    ratios = {name: [] for name in variants}
    for number in range(pairs):
        for name, (run, state) in variants.items():
            if number % 2:
                own, plain = seconds(run, state), seconds(bare, params)
            else:
                plain, own = seconds(bare, params), seconds(run, state)
            ratios[name].append(own / plain)
    for name, measured in ratios.items():
        low, middle, high = statistics.quantiles(measured, n=4)
        bound = "  (at most 1.03)" if name == "guarded" else ""
        print(f"{middle:.3f}  [{low:.3f}, {high:.3f}]  {name}{bound}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=41)
    parser.add_argument("--autopsies", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.autopsies:
        autopsies(options.autopsies)
        return
    guarding(options.pairs)
    for name in ("mlp", "transformer"):
        command = [sys.executable, Path(__file__), "--autopsies", name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        for kind, figure in zip(("cold", "warm"), done.stdout.split(), strict=True):
            bound = AT_MOST.get(f"{name} {kind}")
            told = f"  (at most {bound})" if bound else ""
            print(f"{float(figure):.2f} s  autopsy, {name}, {kind}{told}")


if __name__ == "__main__":
    main()
