"""The bare trainer beside the same network in a plain PyTorch loop, on the CPU.

Network 784-512-512-10, relu, softmax cross-entropy, SGD, batches of 128. Both get the
same stacked batches in memory and the same initial weights, and two threads each.
A pair is STEPS steps of the one and then of the other, in turns first; printed is the
median over the pairs of the ratio of their times, JAX over PyTorch, with quartiles.

    python benchmarks/bare_trainer.py
"""

from __future__ import annotations

import statistics
import sys
import time
from functools import partial

import jax
import numpy as np

from mnist_model import Classifier, Settings

PAIRS = 21
STEPS = 40
THREADS = 2
PAUSE = 0.05  # seconds, in which the threads of the other library go to sleep

SETTINGS = Settings(depth=2, width=512, activation="relu", learning_rate=0.05)


def jax_runner(target, batches):
    run = jax.jit(partial(jax.lax.scan, target.train_step))

    def steps():
        state, metrics = run(target.init(jax.random.key(0)), batches)
        jax.block_until_ready(state)
        return float(metrics["loss"][-1])

    return steps


def torch_runner(torch, target, batches):
    params = target.init(jax.random.key(0)).params
    images = torch.from_numpy(np.array(batches.images)).flatten(2)
    labels = torch.from_numpy(np.array(batches.labels, np.int64))

    def network():
        layers = []
        for name in ("hidden_1", "hidden_2", "output"):
            weight, bias = params[name]["weight"], params[name]["bias"]
            layer = torch.nn.Linear(*weight.shape)
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(np.array(weight.T)))
                layer.bias.copy_(torch.from_numpy(np.array(bias)))
            layers += [layer, torch.nn.ReLU()]
        return torch.nn.Sequential(*layers[:-1])

    def steps():
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), SETTINGS.learning_rate)
        loss = torch.zeros(())
        for batch, target in zip(images, labels, strict=True):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(batch), target)
            loss.backward()
            optimizer.step()
        return loss.item()

    return steps


def seconds(steps) -> float:
    time.sleep(PAUSE)
    begin = time.perf_counter()
    steps()
    return time.perf_counter() - begin


def main() -> None:
    try:
        import torch
    except ImportError:
        sys.exit(
            "error: PyTorch is not installed; pip install torch to compare with it"
        )
    torch.set_num_threads(THREADS)
    target = Classifier(SETTINGS)
    batches = jax.tree.map(lambda x: x[:STEPS], target.epoch(jax.random.key(1)))
    ours, theirs = jax_runner(target, batches), torch_runner(torch, target, batches)
    losses = ours(), theirs()  # also compiles
    if not np.isclose(*losses, rtol=1e-3):
        sys.exit(f"error: the two programs differ, last losses {losses}")

    pairs = []
    for pair in range(PAIRS):
        order = (ours, theirs) if pair % 2 == 0 else (theirs, ours)
        times = {steps: seconds(steps) for steps in order}
        pairs.append((times[ours], times[theirs]))
    ratios = [jax_time / torch_time for jax_time, torch_time in pairs]
    low, middle, high = statistics.quantiles(ratios, n=4)
    for name, times in zip(
        (f"JAX {jax.__version__}", f"PyTorch {torch.__version__}"),
        zip(*pairs, strict=True),
        strict=True,
    ):
        print(f"{name}: {1e3 * statistics.median(times) / STEPS:.2f} ms per step")
    print(f"ratio, median of {PAIRS} pairs: {middle:.3f} ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
