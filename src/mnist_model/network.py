"""The networks: a multilayer perceptron and a small convolutional network.

Parameters are a dictionary of layers, ``params["hidden_1"]["weight"]``. Each
layer computes under a `jax.named_scope` of its own name.
"""

from __future__ import annotations

from functools import partial
from itertools import accumulate, pairwise
from math import prod

import jax
import jax.numpy as jnp

from mnist_model.initialisation import INITIALISERS
from mnist_model.settings import Settings

Params = dict[str, dict[str, jax.Array]]

SIDE = 28
CLASSES = 10
KERNEL = 3


def layer_shapes(settings: Settings) -> dict[str, tuple[int, ...]]:
    """The shape of the weight of each layer, in forward order.

    Dense weights are (inputs, outputs), convolutions (height, width, inputs, outputs).

    Example:
        >>> layer_shapes(Settings(depth=2, width=64))
        {'hidden_1': (784, 64), 'hidden_2': (64, 64), 'output': (64, 10)}
    """
    width, channels = settings.width, settings.channels
    if settings.model == "cnn":
        quarter = SIDE // 4
        return {
            "conv_1": (KERNEL, KERNEL, 1, channels),
            "conv_2": (KERNEL, KERNEL, channels, 2 * channels),
            "dense": (quarter * quarter * 2 * channels, width),
            "output": (width, CLASSES),
        }
    sizes = [SIDE * SIDE, *[width] * settings.depth, CLASSES]
    names = [f"hidden_{layer + 1}" for layer in range(settings.depth)] + ["output"]
    return dict(zip(names, pairwise(sizes), strict=True))


def initialise(key: jax.Array, settings: Settings) -> Params:
    """Draw the parameters of the network that `settings` describe."""
    shapes = layer_shapes(settings).values()
    noise = jax.random.normal(key, (sum(prod(s) + s[-1] for s in shapes),))
    # Compiled apart from the draw, which XLA would repeat for each layer.
    return shape_noise(noise, settings)


@partial(jax.jit, static_argnames="settings")
def shape_noise(noise: jax.Array, settings: Settings) -> Params:
    """Split standard normal `noise` into initial weights and biases, layer by layer."""
    draw = INITIALISERS[settings.initialisation]
    shapes = layer_shapes(settings)
    sizes = [size for shape in shapes.values() for size in (prod(shape), shape[-1])]
    parts = iter(jnp.split(noise, list(accumulate(sizes))[:-1]))
    params = {}
    for name, shape in shapes.items():
        weight = draw(next(parts).reshape(shape), settings.initialisation_scale)
        if name == "output":
            weight = settings.output_scale * weight
        params[name] = {"weight": weight, "bias": settings.bias_scale * next(parts)}
    return params


def apply(params: Params, images: jax.Array, settings: Settings) -> jax.Array:
    """The outputs [batch, classes] for `images` [batch, height, width]."""
    signal = images[..., None]  # [batch, 28, 28, 1]
    for name in layer_shapes(settings):
        layer = params[name]
        with jax.named_scope(name):
            if name.startswith("conv"):
                signal = convolve(signal, layer["weight"])  # halves height and width
            else:
                signal = signal.reshape(len(signal), -1) @ layer["weight"]
            signal = signal + layer["bias"]
            if name == "output":
                signal = getattr(jax.nn, settings.output_activation)(signal)
            else:
                signal = getattr(jax.nn, settings.activation)(signal)
    return signal


def convolve(images: jax.Array, weight: jax.Array) -> jax.Array:
    """Convolve [batch, height, width, channels] with stride 2, zero-padded."""
    return jax.lax.conv_general_dilated(
        images,
        weight,
        window_strides=(2, 2),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
