"""What a rule must know of an activation function, by its name."""

from __future__ import annotations

STEEPEST: dict[str, float] = {
    "sigmoid": 1 / 4,
    "hard_sigmoid": 1 / 6,
    "tanh": 1.0,
    "hard_tanh": 1.0,
    "softsign": 1.0,
}
"""The largest |f′| of the functions that are flat on both sides.

Their saturation costs gradient whatever the sign of z; a relu, by contrast, is flat
below zero in its normal state."""


def advice(function: str) -> str:
    """The initialisation that suits a function, as an instruction."""
    if function in STEEPEST:
        return "LeCun or Glorot initialisation (standard deviation 1/√fan_in)"
    return "He initialisation (standard deviation √(2/fan_in))"
