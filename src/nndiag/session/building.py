"""A target from the parts that most people have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nndiag.errors import TargetError


class State(NamedTuple):
    """Parameters and optimizer state."""

    params: Any
    optimizer_state: Any


@dataclass(frozen=True)
class BuiltTarget:
    """What `nndiag.target` returns: a target (see `nndiag.protocol.Target`)."""

    initialise: Callable[[Any], Any]
    loss: Callable[[Any, Any], Any]
    optimizer: optax.GradientTransformation
    data: Any
    batch_size: int

    def init(self, key: Any) -> State:
        """New parameters and their optimizer state."""
        params = self.initialise(key)
        return State(params, self.optimizer.init(params))

    def train_step(self, state: State, batch: Any) -> tuple[State, dict[str, Any]]:
        """One step of the optimizer on one batch."""
        loss, gradient = jax.value_and_grad(self.loss)(state.params, batch)
        updates, optimizer_state = self.optimizer.update(
            gradient, state.optimizer_state, state.params
        )
        params = optax.apply_updates(state.params, updates)
        return State(params, optimizer_state), {"loss": loss}

    def epoch(self, key: Any) -> Any:
        """The data in random order, stacked ``[steps, batch, …]``; no ragged tail."""
        rows = len(jax.tree.leaves(self.data)[0])
        steps = rows // self.batch_size
        order = jax.random.permutation(key, rows)[: steps * self.batch_size]
        order = order.reshape(steps, self.batch_size)
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[order], self.data)


def target(
    *,
    init: Callable[[Any], Any],
    loss: Callable[[Any, Any], Any],
    optimizer: optax.GradientTransformation,
    data: Any,
    batch_size: int = 128,
) -> BuiltTarget:
    """A target from its parts.

    Args:
        init: ``init(key) -> params``, a pytree.
        loss: ``loss(params, batch) -> scalar``, with a batch of the structure of
            `data`.
        optimizer: from optax.
        data: all examples, not a function that makes them: a pytree of arrays with the
            examples along the first axis, such as ``(x, y)``.
        batch_size: rows per step.

    Raises:
        TargetError: `data` is no such arrays, or they differ in length, or hold less
            than one batch.

    Example:
        >>> built = target(
        ...     init=lambda key: jax.random.normal(key, (3,)),
        ...     loss=lambda w, batch: jnp.square(batch[0] @ w - batch[1]).mean(),
        ...     optimizer=optax.sgd(0.1),
        ...     data=(jnp.ones((8, 3)), jnp.zeros(8)),
        ...     batch_size=4,
        ... )
        >>> jax.tree.map(jnp.shape, built.epoch(jax.random.key(0)))
        ((2, 4, 3), (2, 4))
    """
    leaves = jax.tree.leaves(data)
    odd = [leaf for leaf in leaves if not np.shape(leaf)]
    if odd or not leaves:
        what = f"holds a {type(odd[0]).__name__}" if odd else "is empty"
        raise TargetError(
            f"data {what}; it must be arrays with the examples along the first axis, "
            "such as (x, y)"
        )
    lengths = {len(leaf) for leaf in leaves}
    if len(lengths) != 1:
        raise TargetError(f"the arrays of data differ in length: {sorted(lengths)}")
    if batch_size < 1 or min(lengths) < batch_size:
        raise TargetError(
            f"batch_size is {batch_size} and data has {min(lengths)} rows; "
            "there must be at least one whole batch"
        )
    return BuiltTarget(init, loss, optimizer, data, batch_size)
