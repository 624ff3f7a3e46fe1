"""The lanes of a `while` under `vmap`: each stands still once its condition fails.

JAX keeps the condition of each lane, runs the body for all lanes while any of them goes
on, and leaves the others as they are. The lanes are the leading axes of whatever varies
between them.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.replay.detection import host, is_finite, is_float
from nndiag.replay.provenance import Story, Value, simplify, spread


def within(marked: Any, going: Any) -> Any:
    """`marked` in the lanes that go on; all of it if it has no lanes."""
    if going is None or marked.shape[: going.ndim] != going.shape:
        return marked
    return marked & _fit(going, marked)


def inner(going: Any, outer: Any) -> Any:
    """Of the lanes of an inner loop, those that go on in the outer one as well."""
    return going if outer is None else within(going, outer)


def choose(going: Any, new: Any, old: Any) -> Any:
    """The new value in the lanes that go on, the old one in the others."""
    xp = np if isinstance(going, np.ndarray) else jnp
    return jax.lax.select(xp.broadcast_to(_fit(going, old), old.shape), new, old)


def advance(going: Any, new: Value, old: Value) -> Value:
    """The same for a labelled value."""
    if not is_float(new.data):
        return Value(choose(going, jnp.asarray(new.data), jnp.asarray(old.data)))
    here = np.broadcast_to(_fit(going, host(old.data)), np.shape(old.data))
    data = np.where(here, host(new.data), host(old.data))
    if is_finite(data):
        return Value(data)
    fresh = spread(new)
    labels = simplify(np.where(here, fresh, spread(old)))
    node = new.node if new.node is not None and fresh[here].any() else old.node
    return Value(data, labels, node)


def withdraw(story: Story, first: int, going: Any) -> None:
    """Takes back what lanes that stand still made, of the events from `first` on."""
    for event in story.events[first:]:
        event.bad = within(event.bad, going)


def _fit(going: Any, value: Any) -> Any:
    return going.reshape(going.shape + (1,) * (value.ndim - going.ndim))
