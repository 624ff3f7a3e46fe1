"""Loops, gathers and running sums by hand, with faults."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .case import normal, right, wrong

STEPS, SIDE = 5, 3
PARAMS = {
    "recurrent": normal(1, SIDE, SIDE, scale=0.7),
    "input": normal(2, SIDE, SIDE),
    "bias": normal(3, SIDE),
}
INPUTS, WEIGHTS = normal(4, STEPS, SIDE), normal(5, STEPS, SIDE)


def network(params: Any) -> Any:
    def step(state: Any, x: Any) -> Any:
        before = state @ params["recurrent"] + x @ params["input"] + params["bias"]
        state = jnp.tanh(before)
        return state, state

    states = jax.lax.scan(step, jnp.zeros(SIDE), INPUTS)[1]
    return jnp.sum(WEIGHTS * states) / STEPS


def through_time(params: Any, fault: str = "") -> Any:
    states = [np.zeros(SIDE, np.float32)]
    for x in INPUTS:
        before = states[-1] @ params["recurrent"] + x @ params["input"]
        states.append(np.tanh(before + params["bias"]))
    grads = {name: np.zeros_like(array) for name, array in params.items()}
    back = np.zeros(SIDE, np.float32)
    for step in reversed(range(STEPS)):
        error = WEIGHTS[step] / (1 if fault == "sum" else STEPS) + back
        delta = error if fault == "slope" else error * (1 - states[step + 1] ** 2)
        earlier = states[step + 1 if fault == "later state" else step]
        if fault == "last step" and step < STEPS - 1:
            break
        grads["recurrent"] += np.outer(earlier, delta)
        grads["input"] += np.outer(INPUTS[step], delta)
        grads["bias"] += delta
        through = params["recurrent"] if fault == "through" else params["recurrent"].T
        back = 0 * delta if fault == "one step" else delta @ through
    if fault == "transposed":
        grads["input"] = grads["input"].T
    return grads


RECURRENT, INPUT, BIAS = (f"params['{name}']" for name in PARAMS)
ALL = f"{RECURRENT} {INPUT} {BIAS}"
right("rnn_by_hand", network, PARAMS, gradient=through_time)
for fault, kind, leaves in (
    ("sum", "batch", ALL),
    ("slope", "activation", ALL),
    ("later state", "off by one", RECURRENT),
    ("one step", "detached", ALL),
    ("last step", "dropped term", ALL),
    ("transposed", "transpose", INPUT),
):
    gradient = partial(through_time, fault=fault)
    name = f"rnn_{fault.replace(' ', '_')}"
    wrong(name, kind, leaves, network, PARAMS, gradient=gradient)

TABLE = {"table": normal(6, 7, SIDE)}
TOKENS = np.array([3, 1, 3, 5, 0], np.int32)


def embedding(params: Any) -> Any:
    return jnp.mean(jnp.sin(params["table"][TOKENS]) * WEIGHTS)


def scatter(params: Any, fault: str = "") -> Any:
    table = params["table"]
    tokens = TOKENS + 1 if fault == "next row" else TOKENS
    error = np.cos(table[TOKENS]) * WEIGHTS / WEIGHTS.size
    grads = np.zeros_like(table)
    if fault == "overwritten":
        grads[tokens] = error
    else:
        np.add.at(grads, tokens, error)
    if fault == "unused row":
        grads[6] = 0.01
    return {"table": grads}


right("embedding_by_hand", embedding, TABLE, gradient=scatter)
for fault, kind in (
    ("next row", "off by one"),
    ("overwritten", "dropped term"),
    ("unused row", "one coordinate"),
):
    gradient = partial(scatter, fault=fault)
    name = f"embedding_{fault.replace(' ', '_')}"
    wrong(name, kind, "params['table']", embedding, TABLE, gradient=gradient)

SIGNAL, TIMES = normal(7, 9), normal(8, 9)


def running(signal: Any) -> Any:
    return jnp.sum(TIMES * jnp.cumsum(signal) ** 2)


def running_by_hand(signal: Any, fault: str = "") -> Any:
    error = 2 * TIMES * np.cumsum(signal)
    if fault == "forwards":
        return np.cumsum(error)
    grads = np.cumsum(error[::-1])[::-1]
    if fault == "exclusive":
        return grads - error
    return 2 * grads if fault == "twice" else grads


right("cumsum_by_hand", running, SIGNAL, gradient=running_by_hand)
for fault, kind in (
    ("forwards", "wrong axis"),
    ("exclusive", "off by one"),
    ("twice", "factor"),
):
    gradient = partial(running_by_hand, fault=fault)
    wrong(f"cumsum_{fault}", kind, "signal", running, SIGNAL, gradient=gradient)
