"""How weights begin: each initialiser shapes standard normal noise into a weight.

All layers share one draw of noise, so that depth costs little at the start.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

Initialiser = Callable[[jax.Array, float], jax.Array]
"""From noise N(0, 1) in the shape of the weight, and a scale, to the weight."""


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Inputs of a unit and units fed by an input: (fan_in, fan_out).

    The last two axes are (inputs, outputs), those before it the receptive field.

    Example:
        >>> fans((784, 128)), fans((3, 3, 16, 32))
        ((784, 128), (144, 288))
    """
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


def normal(noise: jax.Array, scale: float) -> jax.Array:
    """N(0, scale²), whatever the size of the layer."""
    return scale * noise


def uniform(noise: jax.Array, scale: float) -> jax.Array:
    """U(−scale, scale), of variance scale²/3.

    2 Φ(z) − 1 = erf(z/√2) is uniform on (−1, 1) where z is standard normal.
    """
    return scale * jax.lax.erf(noise / math.sqrt(2))


def lecun(noise: jax.Array, scale: float) -> jax.Array:
    """N(0, scale² / fan_in): keeps the variance of a linear signal (LeCun 1998)."""
    fan_in, _ = fans(noise.shape)
    return normal(noise, scale * math.sqrt(1 / fan_in))


def glorot(noise: jax.Array, scale: float) -> jax.Array:
    """N(0, scale² · 2 / (fan_in + fan_out)): a compromise of signal and gradient.

    Glorot and Bengio, 2010, "Understanding the difficulty of training deep
    feedforward neural networks", equation 12.
    """
    fan_in, fan_out = fans(noise.shape)
    return normal(noise, scale * math.sqrt(2 / (fan_in + fan_out)))


def he(noise: jax.Array, scale: float) -> jax.Array:
    """N(0, scale² · 2 / fan_in): LeCun's, made up for the half that relu cuts off.

    He et al., 2015, "Delving deep into rectifiers", equation 10.
    """
    fan_in, _ = fans(noise.shape)
    return normal(noise, scale * math.sqrt(2 / fan_in))


def orthogonal(noise: jax.Array, scale: float) -> jax.Array:
    """The scale times orthonormal rows or columns, whichever are fewer.

    Saxe et al., 2014, "Exact solutions to the nonlinear dynamics of learning in deep
    linear neural networks".
    """
    rows, columns = math.prod(noise.shape[:-1]), noise.shape[-1]
    tall = noise.reshape(max(rows, columns), min(rows, columns))
    q, r = jnp.linalg.qr(tall)
    q = q * jnp.sign(jnp.diagonal(r))  # else not uniform over the orthogonal matrices
    return scale * (q if rows >= columns else q.T).reshape(noise.shape)


def constant(noise: jax.Array, scale: float) -> jax.Array:
    """The scale everywhere: units start alike, and stay alike."""
    return jnp.full_like(noise, scale)


INITIALISERS: dict[str, Initialiser] = {
    initialiser.__name__: initialiser
    for initialiser in (normal, uniform, lecun, glorot, he, orthogonal, constant)
}
