"""How weights begin."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

Initialiser = Callable[[jax.Array, tuple[int, ...], float], jax.Array]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Inputs of a unit and units fed by an input: (fan_in, fan_out).

    The last two axes are (inputs, outputs), those before it the receptive field.

    Example:
        >>> fans((784, 128)), fans((3, 3, 16, 32))
        ((784, 128), (144, 288))
    """
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


def normal(key: jax.Array, shape: tuple[int, ...], scale: float) -> jax.Array:
    """N(0, scale²), whatever the size of the layer."""
    return scale * jax.random.normal(key, shape)


def uniform(key: jax.Array, shape: tuple[int, ...], scale: float) -> jax.Array:
    """U(−scale, scale), of variance scale²/3."""
    return jax.random.uniform(key, shape, minval=-scale, maxval=scale)


def lecun(key: jax.Array, shape: tuple[int, ...], scale: float) -> jax.Array:
    """N(0, scale² / fan_in): keeps the variance of a linear signal (LeCun 1998)."""
    fan_in, _ = fans(shape)
    return normal(key, shape, scale * math.sqrt(1 / fan_in))


def glorot(key: jax.Array, shape: tuple[int, ...], scale: float) -> jax.Array:
    """N(0, scale² · 2 / (fan_in + fan_out)): a compromise of signal and gradient.

    Glorot and Bengio, 2010, "Understanding the difficulty of training deep
    feedforward neural networks", equation 12.
    """
    fan_in, fan_out = fans(shape)
    return normal(key, shape, scale * math.sqrt(2 / (fan_in + fan_out)))


def he(key: jax.Array, shape: tuple[int, ...], scale: float) -> jax.Array:
    """N(0, scale² · 2 / fan_in): LeCun's, made up for the half that relu cuts off.

    He et al., 2015, "Delving deep into rectifiers", equation 10.
    """
    fan_in, _ = fans(shape)
    return normal(key, shape, scale * math.sqrt(2 / fan_in))


def orthogonal(key: jax.Array, shape: tuple[int, ...], scale: float) -> jax.Array:
    """The scale times orthonormal rows or columns, whichever are fewer.

    Saxe et al., 2014, "Exact solutions to the nonlinear dynamics of learning in deep
    linear neural networks".
    """
    return jax.nn.initializers.orthogonal(scale)(key, shape)


def constant(key: jax.Array, shape: tuple[int, ...], scale: float) -> jax.Array:
    """The scale everywhere: units start alike, and stay alike."""
    del key
    return jnp.full(shape, scale)


INITIALISERS: dict[str, Initialiser] = {
    initialiser.__name__: initialiser
    for initialiser in (normal, uniform, lecun, glorot, he, orthogonal, constant)
}
