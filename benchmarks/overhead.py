"""What watching costs: watched against bare trainer, interleaved in one process.

    python benchmarks/overhead.py [--rounds 61]

MLP 784-512-512-10, batch 128, on the default device. Each round times one stretch of
steps of the bare trainer (a jitted `lax.scan`, as people write it) and one of each
watched variant, in random order; the figures are the median and the quartiles of the
ratios. The bare trainer runs twice a round: what it differs from itself is noise.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time

import jax
import jax.numpy as jnp
import optax

from nndiag.probes import Level, level_of
from nndiag.replay.guarding import guard
from nndiag.session import target
from nndiag.session.options import PARTS
from nndiag.session.program import Program
from nndiag.session.training import Trainer

SIZES = (784, 512, 512, 10)
STEPS = 60
BOUNDS = {
    "standard, every 10th step": 1.03,
    "standard, every step": 1.20,
    "guarded (finite or not)": 1.03,
}


def init(key):
    keys = jax.random.split(key, len(SIZES))
    return [
        (jax.random.normal(k, (a, b)) * (2 / a) ** 0.5, jnp.zeros(b))
        for k, a, b in zip(keys, SIZES, SIZES[1:], strict=False)
    ]


def loss(params, batch):
    x, y = batch
    for i, (weight, bias) in enumerate(params[:-1]):
        with jax.named_scope(f"hidden_{i + 1}"):
            x = jax.nn.relu(x @ weight + bias)
    weight, bias = params[-1]
    logits = x @ weight + bias
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=61)
    rounds = parser.parse_args().rounds
    a, b = jax.random.split(jax.random.key(0))
    rows = STEPS * 128
    x = jax.random.uniform(a, (rows, SIZES[0]))
    y = jax.random.randint(b, (rows,), 0, SIZES[-1])
    model = target(init=init, loss=loss, optimizer=optax.sgd(0.1), data=(x, y))
    state = jax.block_until_ready(model.init(jax.random.key(1)))
    data = jax.block_until_ready(model.epoch(jax.random.key(2)))

    scan = jax.jit(lambda s, d: jax.lax.scan(model.train_step, s, d))

    def bare():
        jax.block_until_ready(scan(state, data))

    def watched(level, every):
        program = Program(model.train_step, level, every=every)

        def run():
            trainer = Trainer(program, show=lambda record: None)
            trainer._stretch = STEPS  # a quarter of a second, as it would settle on
            after = trainer.run_stack(state, data, None)
            trainer.finish()
            jax.block_until_ready(after)

        return run

    guarded_step = guard(model.train_step)
    start = guarded_step.start(state, jax.tree.map(lambda x: x[0], data))
    guarded_scan = jax.jit(lambda s, d: jax.lax.scan(guarded_step, s, d))

    def guarded():
        jax.block_until_ready(guarded_scan(start, data))

    variants = {
        "bare": bare,
        "bare again": bare,
        "standard, every 10th step": watched(level_of("standard"), 10),
        "standard, every step": watched(level_of("standard"), 1),
        "guarded (finite or not)": guarded,
        "light, every step": watched(level_of("light"), 1),
        "no step watched": watched(level_of("light"), 10**9),
        **{
            f"{part} only, every step": watched(Level(**{part: True}), 1)
            for part in PARTS
        },
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    for run in variants.values():
        run()
    for _ in range(rounds):
        for name in random.sample(list(variants), len(variants)):
            times[name].append(seconds(variants[name]))
    base = times.pop("bare")
    print(f"bare: {1e3 * statistics.median(base) / STEPS:.2f} ms a step")
    for name, measured in times.items():
        ratios = [one / other for one, other in zip(measured, base, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        bound = f"  (at most {BOUNDS[name]})" if name in BOUNDS else ""
        print(f"{middle:.3f}  [{low:.3f}, {high:.3f}]  {name}{bound}")


def seconds(run):
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
