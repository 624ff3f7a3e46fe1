"""Gradients, wrong ones and right ones, with what is true of each."""

from . import (
    activations,
    attention,
    convolution,
    dense,
    losses,
    networks,
    normalisation,
    rules,
    sequences,
    sound,
)
from .case import CASES, KINDS, Case

__all__ = [
    "CASES",
    "KINDS",
    "Case",
    "activations",
    "attention",
    "convolution",
    "dense",
    "losses",
    "networks",
    "normalisation",
    "rules",
    "sequences",
    "sound",
]
