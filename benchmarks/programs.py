"""Training programs as people write them, for the other benchmarks to watch.

Each is a step `(state, batch) -> (state, metrics)`, which knows nothing of nndiag, what
makes a compiled function of it, a first state and a few batches on the device.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

SIZES = (784, 512, 512, 10)
ROWS = 128
LAYERS, WIDTH, HEADS, LENGTH, WORDS, TEXTS = 8, 128, 4, 128, 256, 8
CHANNELS = (1, 16, 32)
BATCHES = 8


class Program(NamedTuple):
    """A training program.

    Attributes:
        step: ``(state, batch) -> (state, metrics)``.
        state: the first state.
        batches: to be used in turn.
        jit: what its library compiles a step with.
    """

    step: Callable[[Any, Any], Any]
    state: Any
    batches: list[Any]
    jit: Callable[[Any], Any] = lambda step: jax.jit(step)  # as it is then


def mlp(norms: bool = False) -> Program:
    """784-512-512-10, batches of 128, in plain JAX, with optax's SGD.

    Args:
        norms: whether the metrics have those of each parameter, gradient and update.
    """
    keys = jax.random.split(jax.random.key(0), len(SIZES) - 1)
    params = [
        {"weights": jax.random.normal(k, (a, b)) * (2 / a) ** 0.5, "biases": zeros(b)}
        for k, a, b in zip(keys, SIZES, SIZES[1:], strict=False)
    ]

    def loss(params, x, labels):
        for layer in params[:-1]:
            x = jax.nn.relu(x @ layer["weights"] + layer["biases"])
        logits = x @ params[-1]["weights"] + params[-1]["biases"]
        return cross_entropy(logits, labels)

    return trained(loss, params, optax.sgd(0.05), digits(ROWS), norms)


def cnn() -> Program:
    """Two convolutions with pooling, activations in bfloat16; batches of 64; Adam."""
    keys = jax.random.split(jax.random.key(0), 3)
    inputs = 7 * 7 * CHANNELS[-1]
    params = {
        "conv1": jax.random.normal(keys[0], (3, 3, *CHANNELS[:2])) * (2 / 9) ** 0.5,
        "conv2": jax.random.normal(keys[1], (3, 3, *CHANNELS[1:])) * (2 / 144) ** 0.5,
        "dense": jax.random.normal(keys[2], (inputs, 10)) * inputs**-0.5,
        "biases": zeros(10),
    }

    def convolve(x, kernel):
        names, size = ("NHWC", "HWIO", "NHWC"), (1, 2, 2, 1)
        x = jax.lax.conv_general_dilated(
            x, kernel.astype(x.dtype), (1, 1), "SAME", dimension_numbers=names
        )
        x = jax.nn.relu(x)
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, size, size, "VALID")

    def loss(params, images, labels):
        x = images.reshape(-1, 28, 28, 1).astype(jnp.bfloat16)
        for name in ("conv1", "conv2"):
            x = convolve(x, params[name])
        x = x.reshape(len(x), -1).astype(jnp.float32)
        return cross_entropy(x @ params["dense"] + params["biases"], labels)

    return trained(loss, params, optax.adam(1e-3), digits(64))


def transformer(layers: int = LAYERS, scanned: bool = True) -> Program:
    """A causal transformer on bytes of text, d = 128, 128 places, 8 texts; Adam.

    Args:
        layers: how many.
        scanned: under `jax.lax.scan`; otherwise in a Python loop over a list.
    """
    keys = iter(jax.random.split(jax.random.key(0), 8))

    def draw(*shape):
        return jax.random.normal(next(keys), shape) * shape[-2] ** -0.5

    stack = {
        "scale": jnp.ones((layers, 2, WIDTH)),
        "attention": draw(layers, WIDTH, 3 * WIDTH),
        "output": draw(layers, WIDTH, WIDTH),
        "up": draw(layers, WIDTH, 4 * WIDTH),
        "down": draw(layers, 4 * WIDTH, WIDTH),
    }
    blocks = [jax.tree.map(lambda w: w[i], stack) for i in range(layers)]  # noqa: B023
    params = {
        "embedding": 0.02 * draw(WORDS, WIDTH),
        "position": 0.02 * draw(LENGTH, WIDTH),
        "blocks": stack if scanned else blocks,
        "head": draw(WIDTH, WORDS),
    }

    def loss(params, inputs, answers):
        x = params["embedding"][inputs] + params["position"]
        if scanned:
            x, _ = jax.lax.scan(lambda x, b: (block(x, b), None), x, params["blocks"])
        else:
            for weights in params["blocks"]:
                x = block(x, weights)
        return cross_entropy(normalise(x) @ params["head"], answers)

    text = np.frombuffer(Path(__file__).read_bytes() * 2, np.uint8).astype(np.int32)
    rng = np.random.default_rng(0)
    batches = []
    for _ in range(BATCHES):
        starts = rng.integers(0, len(text) - LENGTH - 1, (TEXTS, 1))
        words = jnp.asarray(text[starts + np.arange(LENGTH + 1)])
        batches.append((words[:, :-1], words[:, 1:]))
    return trained(loss, params, optax.adam(3e-4), batches)


def block(x, weights):
    x = x + attend(normalise(x) * weights["scale"][0], weights)
    hidden = jax.nn.gelu(normalise(x) * weights["scale"][1] @ weights["up"])
    return x + hidden @ weights["down"]


def normalise(x):
    return x * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6)


def attend(x, weights):
    split = (*x.shape[:-1], 3, HEADS, WIDTH // HEADS)
    q, k, v = jnp.moveaxis((x @ weights["attention"]).reshape(split), -3, 0)
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) * (WIDTH // HEADS) ** -0.5
    mask = jnp.tril(jnp.ones((LENGTH, LENGTH), bool))
    shares = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf))
    mixed = jnp.einsum("bhqk,bkhd->bqhd", shares, v)
    return mixed.reshape(x.shape) @ weights["output"]


def flax_mlp() -> Program:
    """784-512-512-10 in Flax NNX, with Adam; batches of 128."""
    from flax import nnx

    class Classifier(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(*SIZES[:2], rngs=rngs)
            self.second = nnx.Linear(*SIZES[1:3], rngs=rngs)
            self.last = nnx.Linear(*SIZES[2:], rngs=rngs)

        def __call__(self, x):
            return self.last(nnx.relu(self.second(nnx.relu(self.first(x)))))

    model = Classifier(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)
    graph, state = nnx.split((model, optimizer))

    def step(state, batch):
        model, optimizer = nnx.merge(graph, state)
        value, gradient = nnx.value_and_grad(
            lambda model: cross_entropy(model(batch[0]), batch[1])
        )(model)
        optimizer.update(model, gradient)
        return nnx.state((model, optimizer)), {"loss": value}

    return Program(step, state, digits(ROWS))


def equinox_mlp() -> Program:
    """784-512-512-10 in Equinox, with momentum; batches of 128."""
    import equinox as eqx

    model = eqx.nn.MLP(SIZES[0], SIZES[-1], SIZES[1], 2, key=jax.random.key(0))
    optimizer = optax.sgd(0.05, momentum=0.9)

    def step(state, batch):
        model, memory = state
        value, gradient = eqx.filter_value_and_grad(
            lambda model: cross_entropy(jax.vmap(model)(batch[0]), batch[1])
        )(model)
        updates, memory = optimizer.update(gradient, memory, model)
        return (eqx.apply_updates(model, updates), memory), {"loss": value}

    memory = optimizer.init(eqx.filter(model, eqx.is_inexact_array))
    return Program(step, (model, memory), digits(ROWS), eqx.filter_jit)


PROGRAMS = {
    "MLP": mlp,
    "CNN": cnn,
    "Transformer": transformer,
    "Flax NNX": flax_mlp,
    "Equinox": equinox_mlp,
}


BY_HAND = {"MLP": partial(mlp, norms=True)}
"""Programs that measure norms themselves."""


def trained(loss, params, optimizer, batches, norms: bool = False) -> Program:
    """The program that descends a loss ``(params, inputs, answers)``."""

    def step(state, batch):
        params, memory = state
        value, gradient = jax.value_and_grad(loss)(params, *batch)
        updates, memory = optimizer.update(gradient, memory, params)
        metrics = {"loss": value}
        if norms:
            trees = params, gradient, updates
            metrics["norms"] = jax.tree.map(optax.global_norm, trees)
        return (optax.apply_updates(params, updates), memory), metrics

    return Program(step, (params, optimizer.init(params)), batches)


def digits(rows: int) -> list[Any]:
    """Batches of MNIST digits."""
    from mnist_model.data import load

    data = load()
    images = data.train_images.reshape(-1, 784).astype(np.float32) / 255
    labels = data.train_labels.astype(np.int32)
    return [
        (jnp.asarray(images[i : i + rows]), jnp.asarray(labels[i : i + rows]))
        for i in range(0, BATCHES * rows, rows)
    ]


def cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def zeros(size):
    return jnp.zeros(size)
