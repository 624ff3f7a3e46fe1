"""Networks that are right: every shape of program, in every floating type."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .activations import DTYPES
from .case import normal, right

BATCH, SIDE = 6, 4
X, Y = normal(1, BATCH, SIDE), normal(2, BATCH, SIDE)
LABELS = np.array([0, 3, 1, 2, 2, 1], np.int32)


def cast(tree: Any, dtype: Any) -> Any:
    return jax.tree.map(lambda a: a.astype(DTYPES[dtype]), tree)


def like(array: Any, params: Any) -> Any:
    return jnp.asarray(array).astype(jax.tree.leaves(params)[0].dtype)


LAYERS = {
    f"layer_{i}": {"w": normal(i, SIDE, SIDE), "b": normal(9, SIDE)} for i in (3, 4)
}


def perceptron(params: Any, activation: Any = jnp.tanh, remat: bool = False) -> Any:
    def layer(signal: Any, weights: Any) -> Any:
        return activation(signal @ weights["w"] + weights["b"])

    layer = jax.checkpoint(layer) if remat else layer
    signal = like(X, params)
    for weights in params.values():
        signal = layer(signal, weights)
    logs = jax.nn.log_softmax(signal)
    return -jnp.mean(jnp.take_along_axis(logs, LABELS[:, None], 1))


CONV = {"kernel": normal(5, 3, 3, 2, 3), "out": normal(6, 3, 2)}
IMAGES = normal(7, 2, 6, 6, 2)


def convolutional(params: Any, pool: bool = False) -> Any:
    signal = jax.lax.conv_general_dilated(
        like(IMAGES, params),
        params["kernel"],
        (2, 2),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    signal = jax.nn.relu(signal)
    signal = jnp.max(signal, (1, 2)) if pool else jnp.mean(signal, (1, 2))
    return jnp.sum((signal @ params["out"]) ** 2)


RNN = {"w": normal(8, SIDE, SIDE, scale=0.5), "u": normal(9, SIDE, SIDE)}


def recurrent(params: Any, remat: bool = False) -> Any:
    def step(state: Any, x: Any) -> Any:
        state = jnp.tanh(state @ params["w"] + x @ params["u"])
        return state, state

    step = jax.checkpoint(step) if remat else step
    start = jnp.zeros(SIDE, params["w"].dtype)
    return jnp.sum(jax.lax.scan(step, start, like(X, params))[1] ** 2)


def recurrent_in_float32(params: Any) -> Any:
    """The state is of a fixed type, whatever the parameters are."""

    def step(state: Any, x: Any) -> Any:
        return jnp.tanh(state @ params["w"] + x).astype(jnp.float32), None

    start = jnp.zeros(SIDE, jnp.float32)
    return jnp.sum(jax.lax.scan(step, start, X)[0] ** 2)


HEADS = {name: normal(i, SIDE, SIDE) for i, name in enumerate(("q", "k", "v"), 10)}


def attention(params: Any, causal: bool = False) -> Any:
    q, k, v = (like(X, params) @ params[name] for name in ("q", "k", "v"))
    scores = q @ k.T / np.sqrt(SIDE).astype(q.dtype)
    if causal:
        mask = np.tril(np.ones((BATCH, BATCH), bool))
        scores = jnp.where(mask, scores, -jnp.inf)
    return jnp.sum(jnp.sin(jax.nn.softmax(scores) @ v))


NORM = {
    "scale": normal(13, SIDE),
    "shift": normal(14, SIDE),
    "w": normal(15, SIDE, SIDE),
}


def normed(params: Any) -> Any:
    signal = like(X, params) @ params["w"]
    mean = signal.mean(1, keepdims=True)
    variance = signal.var(1, keepdims=True)
    signal = (signal - mean) * jax.lax.rsqrt(variance + 1e-5)
    return jnp.mean(jnp.tanh(signal * params["scale"] + params["shift"]))


def branched(params: Any) -> Any:
    def left(w: Any) -> Any:
        return jnp.sum(jnp.sin(w))

    def far(w: Any) -> Any:
        return jnp.sum(w**2)

    return jax.lax.cond(params["w"][0, 0] > 0, left, far, params["w"])


def switched(params: Any) -> Any:
    branches = [jnp.sin, jnp.exp, jnp.square]
    return jnp.sum(jax.lax.switch(LABELS[2], branches, params["w"]))


def embedded(params: Any) -> Any:
    return jnp.mean(jnp.tanh(params["w"][LABELS]) ** 2)


def mapped(params: Any) -> Any:
    def one(x: Any) -> Any:
        return jax.nn.silu(x @ params["w"]).sum()

    return jnp.mean(jax.vmap(one)(like(X, params)))


for dtype in DTYPES:
    double = dtype == "float64"
    layers, conv, rnn, heads, norm, table = (
        cast(tree, dtype) for tree in (LAYERS, CONV, RNN, HEADS, NORM, {"w": RNN["w"]})
    )
    for name in ("tanh", "relu", "gelu", "silu"):
        fn = partial(perceptron, activation=getattr(jax.nn, name))
        kinked = name == "relu"
        right(f"mlp_{name}_{dtype}", fn, layers, double=double, undecided=kinked)
    right(f"cnn_{dtype}", convolutional, conv, double=double, undecided=True)
    for name, fn, params in (
        ("mlp_remat", partial(perceptron, remat=True), layers),
        ("rnn", recurrent, rnn),
        ("rnn_remat", partial(recurrent, remat=True), rnn),
        ("attention", attention, heads),
        ("attention_causal", partial(attention, causal=True), heads),
        ("norm", normed, norm),
        ("cond", branched, table),
        ("switch", switched, table),
        ("embedding", embedded, table),
        ("vmap", mapped, table),
    ):
        right(f"{name}_{dtype}", fn, params, double=double)

right("cnn_max_pool", partial(convolutional, pool=True), CONV, undecided=True)
right("rnn_in_float32", recurrent_in_float32, {"w": RNN["w"]}, undecided=True)
