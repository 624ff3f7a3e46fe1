"""Losses whose gradient with respect to the scores is written by hand, with faults."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .case import normal, right, wrong

BATCH, CLASSES = 6, 5
SCORES = normal(1, BATCH, CLASSES, scale=2)
LABELS = np.array([0, 3, 1, 4, 4, 2], np.int32)
SMOOTHING = 0.1


def cross_entropy(scores: Any) -> Any:
    logs = jax.nn.log_softmax(scores)
    return -jnp.mean(jnp.take_along_axis(logs, LABELS[:, None], 1))


def softmax(scores: Any) -> Any:
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def cross_entropy_by_hand(scores: Any, fault: str = "") -> Any:
    labels = (LABELS + 1) % CLASSES if fault == "label" else LABELS
    grads = softmax(scores)
    if fault != "no target":
        grads = grads - np.eye(CLASSES, dtype=np.float32)[labels]
    if fault == "one row":
        grads[-1] = 0
    if fault == "minus":
        grads = -grads
    if fault == "one element":
        grads[2, 1] *= 1.01
    return grads if fault == "sum" else grads / BATCH


right("cross_entropy_by_hand", cross_entropy, SCORES, gradient=cross_entropy_by_hand)
for fault, kind in (
    ("sum", "batch"),
    ("minus", "sign"),
    ("no target", "dropped term"),
    ("label", "off by one"),
    ("one row", "detached"),
    ("one element", "one coordinate"),
):
    gradient = partial(cross_entropy_by_hand, fault=fault)
    name = f"cross_entropy_{fault.replace(' ', '_')}"
    wrong(name, kind, "scores", cross_entropy, SCORES, gradient=gradient)


def log_loss(scores: Any) -> Any:
    """Binary, as a sigmoid network computes it."""
    chance = jax.nn.sigmoid(scores)
    targets = jax.nn.one_hot(LABELS, CLASSES)
    return -jnp.mean(targets * jnp.log(chance) + (1 - targets) * jnp.log(1 - chance))


def log_loss_by_hand(scores: Any, limit: float = np.inf, slope: bool = True) -> Any:
    """By the chain rule: through the chance, whose derivative may be clipped."""
    chance = 1 / (1 + np.exp(-scores))
    targets = np.eye(CLASSES, dtype=np.float32)[LABELS]
    outer = np.clip((1 - targets) / (1 - chance) - targets / chance, -limit, limit)
    inner = chance * (1 - chance) if slope else 1
    return outer * inner / scores.size


def log_loss_clipped(scores: Any) -> Any:
    return log_loss_by_hand(scores, limit=5.0)


def log_loss_without_slope(scores: Any) -> Any:
    return log_loss_by_hand(scores, slope=False)


right("log_loss_by_hand", log_loss, SCORES, gradient=log_loss_by_hand)
for name, kind, gradient in (
    ("clipped", "clipped", log_loss_clipped),
    ("activation", "activation", log_loss_without_slope),
):
    wrong(f"log_loss_{name}", kind, "scores", log_loss, SCORES, gradient=gradient)


def huber(scores: Any) -> Any:
    size = jnp.abs(scores)
    return jnp.mean(jnp.where(size < 1, scores**2 / 2, size - 1 / 2))


def huber_by_hand(scores: Any, limit: float = 1.0) -> Any:
    return np.clip(scores, -limit, limit) / scores.size


def huber_square_only(scores: Any) -> Any:
    """The derivative of the square, used beyond the threshold as well."""
    return huber_by_hand(scores, np.inf)


right("huber_by_hand", huber, SCORES, gradient=huber_by_hand)
wrong(
    "huber_square_only",
    "threshold",
    "scores",
    huber,
    SCORES,
    gradient=huber_square_only,
)


def ridge(params: Any) -> Any:
    error = SCORES @ params["weight"] - normal(7, BATCH)
    return jnp.mean(error**2) + 0.3 * jnp.sum(params["weight"] ** 2)


def ridge_without_penalty(params: Any) -> Any:
    error = SCORES @ params["weight"] - normal(7, BATCH)
    return {"weight": 2 * SCORES.T @ error / BATCH}


wrong(
    "ridge_without_penalty",
    "regulariser",
    "params['weight']",
    ridge,
    {"weight": normal(8, CLASSES)},
    gradient=ridge_without_penalty,
)


def lasso(params: Any) -> Any:
    error = SCORES @ params["weight"] - normal(7, BATCH)
    return jnp.mean(error**2) + 0.3 * jnp.sum(jnp.abs(params["weight"]))


wrong(
    "lasso_without_penalty",
    "regulariser",
    "params['weight']",
    lasso,
    {"weight": normal(8, CLASSES)},
    gradient=ridge_without_penalty,
)
