"""Backpropagation through a dense network by hand, in NumPy, with faults."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from .case import normal, right, wrong

SIDE = 4
"""Batch and widths are equal, so that a wrong axis or order keeps the shape."""
DECAY = 0.1
PARAMS = {
    "hidden": {"weight": normal(1, SIDE, SIDE), "bias": normal(2, SIDE)},
    "output": {"weight": normal(3, SIDE, SIDE), "bias": normal(4, SIDE)},
}
INPUTS, TARGETS = normal(5, SIDE, SIDE), normal(6, SIDE, SIDE)


def loss(params: Any) -> Any:
    hidden, output = params["hidden"], params["output"]
    signal = jnp.tanh(INPUTS @ hidden["weight"] + hidden["bias"])
    error = signal @ output["weight"] + output["bias"] - TARGETS
    squares = jnp.sum(hidden["weight"] ** 2) + jnp.sum(output["weight"] ** 2)
    return jnp.sum(error**2) / (2 * SIDE) + DECAY / 2 * squares


def backprop(params: Any, fault: str = "") -> Any:
    hidden, output = params["hidden"], params["output"]
    before = INPUTS @ hidden["weight"] + hidden["bias"]
    signal = np.tanh(before)
    error = signal @ output["weight"] + output["bias"] - TARGETS
    if fault == "no mean":
        error = error * SIDE
    error = error / SIDE
    if fault == "no half":
        error = 2 * error
    if fault == "minus":
        error = -error
    through = output["weight"] if fault == "through" else output["weight"].T
    slope = 1 if fault == "slope" else 1 - signal**2
    if fault == "slope of input":
        slope = 1 - before**2
    delta = (error @ through) * slope
    decay = 0 if fault == "no decay" else DECAY
    return {
        "hidden": {
            "weight": INPUTS.T @ delta + decay * hidden["weight"],
            "bias": delta.sum(1 if fault == "axis" else 0),
        },
        "output": {
            "weight": signal.T @ error + decay * output["weight"],
            "bias": error.mean(0) if fault == "mean" else error.sum(0),
        },
    }


def edited(leaf: str, edit: Any) -> Any:
    """The right backpropagation, one leaf of which is edited."""
    layer, name = leaf.split("_")

    def gradient(params: Any) -> Any:
        grads = backprop(params)
        grads[layer][name] = edit(grads[layer][name])
        return grads

    return gradient


def with_element(index: Any, factor: float) -> Any:
    def edit(array: Any) -> Any:
        array = np.array(array)
        array[index] *= factor
        return array

    return edit


HIDDEN, OUTPUT = "params['hidden']", "params['output']"
WEIGHTS = f"{HIDDEN}['weight'] {OUTPUT}['weight']"
LOWER = f"{HIDDEN}['weight'] {HIDDEN}['bias']"
ALL = f"{LOWER} {OUTPUT}['weight'] {OUTPUT}['bias']"

right("dense_by_hand", loss, PARAMS, gradient=backprop)

for fault, kind, leaves in (
    ("no mean", "batch", ALL),
    ("no half", "factor", ALL),
    ("minus", "sign", ALL),
    ("through", "transpose", LOWER),
    ("slope", "activation", LOWER),
    ("slope of input", "activation", LOWER),
    ("no decay", "regulariser", WEIGHTS),
    ("axis", "wrong axis", f"{HIDDEN}['bias']"),
    ("mean", "batch", f"{OUTPUT}['bias']"),
):
    backward = partial(backprop, fault=fault)
    name = f"dense_{fault.replace(' ', '_')}"
    wrong(name, kind, leaves, loss, PARAMS, gradient=backward)


def clip(array: Any) -> Any:
    limit = np.median(np.abs(array))
    return np.clip(array, -limit, limit)


def truncate(array: Any) -> Any:
    return np.asarray(array).astype(ml_dtypes.bfloat16).astype(np.float32)


for leaf, name, kind, edit in (
    ("hidden_weight", "half", "factor", lambda a: a / 2),
    ("output_bias", "minus", "sign", lambda a: -a),
    ("output_weight", "transposed", "transpose", lambda a: a.T),
    ("hidden_weight", "transposed", "transpose", lambda a: a.T),
    ("hidden_bias", "zero", "detached", np.zeros_like),
    ("output_weight", "clipped", "clipped", clip),
    ("output_weight", "mean_of_rows", "broadcast", lambda a: 0 * a + a.mean(0)),
    ("output_bias", "one_number", "broadcast", lambda a: 0 * a + a.sum()),
    ("output_weight", "rolled", "off by one", lambda a: np.roll(a, 1, 0)),
    ("hidden_bias", "rolled", "off by one", lambda a: np.roll(a, -1)),
    ("output_weight", "one_percent", "one coordinate", with_element((2, 1), 1.01)),
    ("hidden_weight", "ten_percent", "one coordinate", with_element((0, 3), 0.9)),
    ("hidden_bias", "one_lost", "one coordinate", with_element(2, 0)),
    ("hidden_weight", "in_bfloat16", "truncation", truncate),
):
    layer, part = leaf.split("_")
    path = f"params['{layer}']['{part}']"
    backward = edited(leaf, edit)
    wrong(f"dense_{leaf}_{name}", kind, path, loss, PARAMS, gradient=backward)


def exchanged(params: Any, part: str) -> Any:
    grads = backprop(params)
    hidden, output = grads["hidden"], grads["output"]
    hidden[part], output[part] = output[part], hidden[part]
    return grads


for part in ("weight", "bias"):
    backward = partial(exchanged, part=part)
    leaves = f"{HIDDEN}['{part}'] {OUTPUT}['{part}']"
    wrong(f"dense_{part}_swapped", "swapped", leaves, loss, PARAMS, gradient=backward)


def residual(params: Any, skip: Any = lambda x: x) -> Any:
    signal = jnp.tanh(INPUTS @ params["first"])
    signal = skip(signal) + jnp.tanh(signal @ params["second"])
    return jnp.mean((signal @ params["third"] - TARGETS) ** 2)


def without_skip(params: Any) -> Any:
    """Backpropagation through the branch alone, as if the skip were a constant."""
    return jax.grad(residual)(params, jax.lax.stop_gradient)


BLOCK = {
    name: normal(i, SIDE, SIDE) for i, name in enumerate(("first", "second", "third"))
}
wrong(
    "residual_without_skip",
    "detached",
    "params['first']",
    residual,
    BLOCK,
    gradient=without_skip,
)
