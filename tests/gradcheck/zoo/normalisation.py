"""Layer norm and batch norm by hand, with faults."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from .case import normal, right, wrong

SIDE = 5
EPSILON = 1e-3
PARAMS = {
    "x": normal(1, SIDE, SIDE),
    "scale": normal(2, SIDE),
    "shift": normal(3, SIDE),
}
WEIGHTS = normal(4, SIDE, SIDE)


def loss(params: Any, axis: int) -> Any:
    x = params["x"]
    centred = x - jnp.mean(x, axis, keepdims=True)
    variance = jnp.mean(centred**2, axis, keepdims=True)
    normed = centred / jnp.sqrt(variance + EPSILON)
    return jnp.sum(WEIGHTS * (params["scale"] * normed + params["shift"]))


def by_hand(params: Any, axis: int, fault: str = "") -> Any:
    x = np.asarray(params["x"], np.float64)
    centred = x - x.mean(axis, keepdims=True)
    inverse = 1 / np.sqrt((centred**2).mean(axis, keepdims=True) + EPSILON)
    normed = centred * inverse
    error = WEIGHTS if fault == "no scale" else WEIGHTS * params["scale"]
    over = 1 - axis if fault == "axis" else axis
    mean = error.mean(over, keepdims=True)
    slope = (error * normed).mean(over, keepdims=True)
    if fault == "sum":
        slope = slope * SIDE
    if fault in ("no mean", "constant statistics"):
        mean = 0
    if fault in ("no variance", "constant statistics"):
        slope = 0
    if fault == "unbiased":
        inverse = inverse * np.sqrt((SIDE - 1) / SIDE)
    return {
        "x": inverse * (error - mean - normed * slope),
        "scale": (WEIGHTS * normed).sum(1 if fault == "scale axis" else 0),
        "shift": WEIGHTS.sum(1 if fault == "shift axis" else 0),
    }


for layer, axis, faults in (
    (
        "layer_norm",
        1,
        {
            "no mean": ("dropped term", "x"),
            "no variance": ("dropped term", "x"),
            "axis": ("wrong axis", "x"),
            "no scale": ("dropped term", "x"),
            "scale axis": ("wrong axis", "scale"),
            "shift axis": ("wrong axis", "shift"),
        },
    ),
    (
        "batch_norm",
        0,
        {
            "constant statistics": ("detached", "x"),
            "sum": ("batch", "x"),
            "unbiased": ("factor", "x"),
        },
    ),
):
    fn = partial(loss, axis=axis)
    right(f"{layer}_by_hand", fn, PARAMS, gradient=partial(by_hand, axis=axis))
    for fault, (kind, leaf) in faults.items():
        gradient = partial(by_hand, axis=axis, fault=fault)
        path = f"params['{leaf}']"
        name = f"{layer}_{fault.replace(' ', '_')}"
        wrong(name, kind, path, fn, PARAMS, gradient=gradient)
