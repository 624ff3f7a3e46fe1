"""A small convolutional network; its gradient with faults."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .case import normal, right, spoiled, wrong

CHANNELS = 3
KERNEL = "params['kernel']"
BIAS = "params['bias']"
PARAMS = {"kernel": normal(1, 3, 3, CHANNELS, CHANNELS), "bias": normal(2, CHANNELS)}
IMAGES, WEIGHTS = normal(3, 2, 5, 5, CHANNELS), normal(4, 2, 5, 5, CHANNELS)


def convolve(images: Any, kernel: Any) -> Any:
    return jax.lax.conv_general_dilated(
        jnp.asarray(images, kernel.dtype),
        kernel,
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def loss(params: Any) -> Any:
    signal = jnp.tanh(convolve(IMAGES, params["kernel"]) + params["bias"])
    return jnp.mean(WEIGHTS * signal)


def by_hand(params: Any, shift: int = 1, activation: bool = True) -> Any:
    """Correlates inputs with errors, offset by offset."""
    signal = np.tanh(np.asarray(convolve(IMAGES, params["kernel"])) + params["bias"])
    error = WEIGHTS / WEIGHTS.size
    if activation:
        error = error * (1 - signal**2)
    padded = np.pad(IMAGES, ((0, 0), (shift, 2 - shift), (1, 1), (0, 0)))
    kernel = np.zeros_like(params["kernel"])
    for row in range(3):
        for column in range(3):
            window = padded[:, row : row + 5, column : column + 5]
            kernel[row, column] = np.einsum("nhwi,nhwo->io", window, error)
    return {"kernel": kernel, "bias": error.sum((0, 1, 2))}


def edited(leaf: str, edit: Any) -> Any:
    return spoiled(loss, lambda grads: {**grads, leaf: edit(grads[leaf])})


def one_offset(kernel: Any) -> Any:
    kernel = np.array(kernel)
    kernel[1, 2, 0, 1] = 0
    return kernel


def by_hand_off_by_one(params: Any) -> Any:
    return by_hand(params, shift=2)


def by_hand_without_activation(params: Any) -> Any:
    return by_hand(params, activation=False)


right("conv_by_hand", loss, PARAMS, gradient=by_hand)
for name, kind, leaves, gradient in (
    ("padding", "off by one", KERNEL, by_hand_off_by_one),
    ("activation", "activation", f"{KERNEL} {BIAS}", by_hand_without_activation),
    ("batch", "batch", KERNEL, edited("kernel", lambda k: 2 * k)),
    ("bias_per_pixel", "factor", BIAS, edited("bias", lambda b: b / 25)),
    ("minus", "sign", KERNEL, edited("kernel", np.negative)),
    ("in_and_out", "transpose", KERNEL, edited("kernel", lambda k: k.swapaxes(2, 3))),
    (
        "rows_and_columns",
        "transpose",
        KERNEL,
        edited("kernel", lambda k: k.swapaxes(0, 1)),
    ),
    ("one_offset", "one coordinate", KERNEL, edited("kernel", one_offset)),
    ("shared", "broadcast", KERNEL, edited("kernel", lambda k: 0 * k + k.mean((0, 1)))),
):
    wrong(f"conv_{name}", kind, leaves, loss, PARAMS, gradient=gradient)
