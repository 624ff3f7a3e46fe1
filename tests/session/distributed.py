"""A training on all devices of two processes: a script, and a target.

Run by `test_processes.py`: ``distributed.py PORT RANK DIRECTORY``, or as a module that
is told its port and rank in ``NNDIAG_TEST``.
"""

import os
import sys

import jax

GIVEN = os.environ.get("NNDIAG_TEST", " ".join(sys.argv[1:])).split()
PORT, RANK, *REST = GIVEN
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"localhost:{PORT}", 2, int(RANK))

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax.sharding import AxisType, NamedSharding  # noqa: E402
from jax.sharding import PartitionSpec as P  # noqa: E402

MESH = jax.make_mesh((jax.device_count(),), ("d",), axis_types=(AxisType.Auto,))
NUMBERS = np.random.default_rng(0)


def everywhere(array, *spec):
    sharding = NamedSharding(MESH, P(*spec))
    return jax.make_array_from_callback(array.shape, sharding, lambda at: array[at])


WEIGHTS = [NUMBERS.normal(size=(8, 8)).astype(np.float32) * 0.5 for _ in range(2)]
BATCHES = NUMBERS.normal(size=(12, 16, 8)).astype(np.float32)


def loss(weights, x):
    for w in weights:
        x = jnp.tanh(x @ w)
    return jnp.mean(x**2)


def train_step(weights, x):
    value, gradients = jax.value_and_grad(loss)(weights, x)
    weights = jax.tree.map(lambda w, g: w - 0.1 * g, weights, gradients)
    return weights, {"loss": value, "batch": x}  # the batch is on all processes


def init(key):
    return [everywhere(w) for w in WEIGHTS]


def epoch(key):
    return everywhere(BATCHES, None, "d")


def main(directory):
    weights, bare = init(None), init(None)
    if directory == "script":
        step = jax.jit(train_step)
        for x in BATCHES:
            weights, metrics = step(weights, everywhere(x, "d"))
        print("loss", float(metrics["loss"]))
        return
    import nndiag

    watched, step = jax.jit(nndiag.watch(train_step)), jax.jit(train_step)
    with nndiag.record(directory) as run:
        for number, x in enumerate(BATCHES):
            x = everywhere(x, "d")
            bare, _ = step(bare, x)
            (weights, metrics), readings = watched(weights, x)
            run.log(number, readings, metrics)
    same = all(
        np.asarray(a).tobytes() == np.asarray(b).tobytes()
        for a, b in zip(weights, bare, strict=True)
    )
    print("same", same, len(run.diagnose()), run.publish(dpi=30) is None)


if __name__ == "__main__":
    main(REST[0])
