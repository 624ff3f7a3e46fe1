"""Attention, its backward pass by hand, with faults."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from .case import normal, right, wrong

SIDE = 4
PARAMS = {
    name: normal(i, SIDE, SIDE) for i, name in enumerate(("query", "key", "value"))
}
TOKENS, WEIGHTS = normal(5, SIDE, SIDE), normal(6, SIDE, SIDE)
MASK = np.tril(np.ones((SIDE, SIDE), bool))


def loss(params: Any) -> Any:
    query, key, value = (TOKENS @ params[name] for name in ("query", "key", "value"))
    scores = query @ key.T / np.float32(np.sqrt(SIDE))
    scores = jnp.where(MASK, scores, -1e9)
    weights = jnp.exp(scores - scores.max(1, keepdims=True))
    weights = weights / weights.sum(1, keepdims=True)
    return jnp.sum(WEIGHTS * (weights @ value))


def by_hand(params: Any, fault: str = "") -> Any:
    query, key, value = (TOKENS @ params[name] for name in ("query", "key", "value"))
    scores = np.where(MASK, query @ key.T / np.sqrt(SIDE), -np.inf)
    probability = np.exp(scores - scores.max(1, keepdims=True))
    probability /= probability.sum(1, keepdims=True)
    error = WEIGHTS @ value.T
    inner = (probability * error).sum(0 if fault == "axis" else 1, keepdims=True)
    if fault == "diagonal":
        inner = 0
    delta = probability * (error - inner)
    if fault != "no root":
        delta = delta / np.sqrt(SIDE)
    if fault == "constant probability":
        delta = 0 * delta
    grads = {
        "query": TOKENS.T @ (delta @ key),
        "key": TOKENS.T @ (delta.T @ query),
        "value": TOKENS.T @ (probability.T @ WEIGHTS),
    }
    if fault == "swapped":
        grads["query"], grads["key"] = grads["key"], grads["query"]
    if fault == "transposed":
        grads["value"] = grads["value"].T
    if fault == "minus":
        grads["key"] = -grads["key"]
    return grads


QUERY, KEY, VALUE = (f"params['{name}']" for name in PARAMS)
right("attention_by_hand", loss, PARAMS, gradient=by_hand)
for fault, kind, leaves in (
    ("axis", "wrong axis", f"{QUERY} {KEY}"),
    ("diagonal", "dropped term", f"{QUERY} {KEY}"),
    ("no root", "factor", f"{QUERY} {KEY}"),
    ("constant probability", "detached", f"{QUERY} {KEY}"),
    ("swapped", "swapped", f"{QUERY} {KEY}"),
    ("transposed", "transpose", VALUE),
    ("minus", "sign", KEY),
):
    name = f"attention_{fault.replace(' ', '_')}"
    wrong(name, kind, leaves, loss, PARAMS, gradient=partial(by_hand, fault=fault))
