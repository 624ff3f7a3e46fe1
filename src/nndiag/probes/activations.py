"""The activation functions: what each computes, and where it is flat.

An element is **saturated** where the magnitude of the activation's derivative is less
than 5 % of the largest that the function has, |f′(z)| < 0.05 · max |f′|:

==============  ======================  ========  ===============================
name            f(z)                    max |f′|  saturated where
==============  ======================  ========  ===============================
sigmoid         1 / (1 + exp(−z))       1/4       z < −4.36 or z > 4.36
tanh            tanh z                  1         z < −2.18 or z > 2.18
hard_tanh       clip(z, −1, 1)          1         z ≤ −1 or z ≥ 1
hard_sigmoid    clip(z/6 + 1/2, 0, 1)   1/6       z ≤ −3 or z ≥ 3
softsign        z / (1 + abs z)         1         z < −3.47 or z > 3.47
relu            max(z, 0)               1         z ≤ 0
relu6           clip(z, 0, 6)           1         z ≤ 0 or z ≥ 6
gelu            z Φ(z)                  1.129     z < −2.28 or −0.90 < z < −0.63
silu            z σ(z)                  1.100     z < −3.93 or −1.60 < z < −1.06
hard_silu       z clip(z/6 + 1/2, 0,1)  1.5       z < −3 or −1.73 < z < −1.28
mish            z tanh(softplus z)      1.089     z < −3.98 or −1.44 < z < −1.01
softplus        log(1 + exp z)          1         z < −2.94
elu             z, or exp(z) − 1        1         z < −3.00
selu            1.051 elu(z, 1.673)     1.758     z < −3.00
leaky_relu      max(z, a z)             1         never (its slope a is not known)
==============  ======================  ========  ===============================

The second interval of gelu, silu, hard_silu and mish is the bottom of their dip.

A function that is *flat at zero* passes nothing where it is flat, and half of a layer
being so is its normal state; a *bounded* one is flat on both sides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.probes.elementwise import GRID, Curve

SATURATED_BELOW = 0.05
"""An element is saturated below this share of the largest |f′| (see the table)."""

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


class Activation(NamedTuple):
    """One activation function.

    Attributes:
        curve: f on float64 NumPy arguments, the oracle it is recognised by.
        peak: the largest |f′|.
        derivative: |f′| from `(y, z)`, output and pre-activation; it reads `z` only
            where `y` does not determine it. `None` for a function of straight lines.
        flat: of a function of straight lines, where `y` is on a level one; |f′| is 0
            there and `peak` elsewhere.
        flat_at_zero: whether its flat part is at the value 0, as of a relu.
    """

    curve: Callable[[Curve], Curve]
    peak: float
    derivative: Callable[[Any, Any], Any] | None = None
    flat: Callable[[Any], Any] | None = None
    flat_at_zero: bool = False

    def saturated(self, y: Any, z: Any) -> Any:
        """Which elements are saturated: bool, of the shape of `y`."""
        if self.flat is not None:
            return self.flat(y)
        assert self.derivative is not None
        return self.derivative(y, z) < SATURATED_BELOW * self.peak


def _sigmoid(z: Curve) -> Curve:
    return 0.5 * (1 + np.tanh(0.5 * z))


def _softplus(z: Curve) -> Curve:
    return np.logaddexp(z, 0)


def _normal_cdf(z: Curve) -> Curve:
    from math import erfc

    return np.vectorize(lambda x: 0.5 * erfc(-x / 2**0.5), otypes=[float])(z)


def _gelu_slope(y: Any, z: Any) -> Any:
    density = jnp.exp(-0.5 * z * z) * 0.3989422804014327
    cdf = jnp.where(z == 0, 0.5, y / jnp.where(z == 0, 1, z))  # as y = z Φ(z)
    return jnp.abs(cdf + z * density)


def _silu_slope(y: Any, z: Any) -> Any:
    gate = jax.nn.sigmoid(z)
    return jnp.abs(gate * (1 + z * (1 - gate)))


def _mish_slope(y: Any, z: Any) -> Any:
    squashed = jnp.tanh(jax.nn.softplus(z))
    return jnp.abs(squashed + z * jax.nn.sigmoid(z) * (1 - squashed**2))


def _hard_silu_slope(y: Any, z: Any) -> Any:
    inside = jnp.abs(z / 3 + 0.5)
    return jnp.where(z >= 3, 1.0, jnp.where(z <= -3, 0.0, inside))


def _elu_slope(y: Any, z: Any) -> Any:
    return jnp.where(y > 0, 1.0, y + 1)


def _selu_slope(y: Any, z: Any) -> Any:
    return jnp.where(y > 0, _SELU_SCALE, y + _SELU_SCALE * _SELU_ALPHA)


def _elu(z: Curve) -> Curve:
    return np.where(z > 0, z, np.expm1(np.minimum(z, 0)))


def _selu(z: Curve) -> Curve:
    return _SELU_SCALE * np.where(z > 0, z, _SELU_ALPHA * _elu(np.minimum(z, 0)))


def _hard_sigmoid(z: Curve) -> Curve:
    return np.clip(z / 6 + 0.5, 0, 1)


ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": Activation(_sigmoid, 0.25, lambda y, z: y * (1 - y)),
    "tanh": Activation(np.tanh, 1.0, lambda y, z: 1 - y * y),
    "softsign": Activation(
        lambda z: z / (1 + np.abs(z)), 1.0, lambda y, z: (1 - jnp.abs(y)) ** 2
    ),
    "hard_tanh": Activation(
        lambda z: np.clip(z, -1, 1), 1.0, flat=lambda y: jnp.abs(y) >= 1
    ),
    "hard_sigmoid": Activation(
        _hard_sigmoid, 1 / 6, flat=lambda y: (y <= 0) | (y >= 1)
    ),
    "relu": Activation(
        lambda z: np.maximum(z, 0), 1.0, flat=lambda y: y == 0, flat_at_zero=True
    ),
    "relu6": Activation(
        lambda z: np.clip(z, 0, 6),
        1.0,
        flat=lambda y: (y <= 0) | (y >= 6),
        flat_at_zero=True,
    ),
    "gelu": Activation(
        lambda z: z * _normal_cdf(z), 1.1289, _gelu_slope, flat_at_zero=True
    ),
    "silu": Activation(
        lambda z: z * _sigmoid(z), 1.0998, _silu_slope, flat_at_zero=True
    ),
    "hard_silu": Activation(
        lambda z: z * _hard_sigmoid(z), 1.5, _hard_silu_slope, flat_at_zero=True
    ),
    "mish": Activation(
        lambda z: z * np.tanh(_softplus(z)), 1.0885, _mish_slope, flat_at_zero=True
    ),
    "softplus": Activation(
        _softplus, 1.0, lambda y, z: -jnp.expm1(-y), flat_at_zero=True
    ),
    "elu": Activation(_elu, 1.0, _elu_slope),
    "selu": Activation(_selu, _SELU_SCALE * _SELU_ALPHA, _selu_slope),
}
LEAKY = "leaky_relu"
"""Recognised for any slope 0 < a < 1 on the negative side."""

_CURVES = {name: activation.curve(GRID) for name, activation in ACTIVATIONS.items()}
# The tanh form of gelu differs from the exact one by at most 4.8e-4; hand-written
# sigmoids are clipped at up to 1e-3. The closest two functions of the table (silu,
# mish) differ by 0.17 somewhere on the grid.
_TOLERANCE = 2e-3


def recognise(curve: Curve) -> str | None:
    """The name of the activation function with these values on `GRID`, or `None`."""
    if not np.isfinite(curve).all():
        return None
    for name, known in _CURVES.items():
        if np.abs(curve - known).max() < _TOLERANCE:
            return name
    quick_gelu = GRID * _sigmoid(1.702 * GRID)
    if np.abs(curve - quick_gelu).max() < _TOLERANCE:
        return "gelu"
    leak = curve[0] / GRID[0]
    if 0 < leak < 0.9 and np.allclose(curve, np.where(GRID > 0, 1, leak) * GRID):
        return LEAKY
    return None
