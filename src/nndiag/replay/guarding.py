"""`guard`: a training step that stops at the last good state."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nndiag.errors import ProgramError


class Guarded(NamedTuple):
    """A training state under guard; a pytree, carried from step to step.

    Attributes:
        state: the training state; once a step was bad, the one that it was given.
        good: whether all steps so far were.
        step: number of good steps: once one was bad, its index, from 0.
        batch: the batch of the last step; once one was bad, its batch.
        exempt: for each leaf of the state, whether it was not finite to begin with (a
            best loss that starts at Inf): such a leaf is not watched.
    """

    state: Any
    good: Any
    step: Any
    batch: Any
    exempt: Any


class Guard:
    """A step under guard: ``(Guarded, batch) -> (Guarded, metrics)``."""

    def __init__(self, step: Callable[[Any, Any], tuple[Any, Any]]) -> None:
        functools.update_wrapper(self, step)
        self._step = step

    def start(self, state: Any, batch: Any) -> Guarded:
        """The state before the first step.

        Args:
            state: the training state.
            batch: any batch; only its types and shapes matter.
        """
        state = jax.tree.map(jnp.asarray, state)
        blank = jax.tree.map(lambda x: jnp.zeros_like(jnp.asarray(x)), batch)
        exempt = ~finite_leaves(state)
        return Guarded(state, jnp.asarray(True), jnp.asarray(0), blank, exempt)

    def __call__(self, guarded: Guarded, batch: Any) -> tuple[Guarded, Any]:
        """One step; once one was bad, the guarded state stays as it is."""
        if not isinstance(guarded, Guarded):
            raise ProgramError(
                f"a guarded step takes a Guarded, not a {type(guarded).__name__}; "
                "make one with guard(step).start(state, batch)"
            )
        _require_alike(guarded.batch, batch)
        returned = self._step(guarded.state, batch)
        if not (isinstance(returned, tuple) and len(returned) == 2):
            raise ProgramError(
                "a guarded step takes (state, batch) and returns (state, metrics); "
                f"this one returns {_count(returned)}: put what it carries "
                "into one state"
            )
        state, metrics = returned
        before, after = jax.tree.leaves(guarded.state), jax.tree.leaves(state)
        same = jax.tree.structure(guarded.state) == jax.tree.structure(state)
        if not same or list(map(_type, before)) != list(map(_type, after)):
            raise ProgramError(
                "the guarded step returns a state of other structure, shapes or types "
                "than it was given, so the last good one could not be kept"
            )
        sound = (finite_leaves(state) | guarded.exempt).all()
        good = guarded.good & sound & finite_leaves(metrics).all()
        keep = functools.partial(jax.tree.map, functools.partial(_choose, good))
        held = functools.partial(jax.tree.map, functools.partial(_choose, guarded.good))
        return (
            Guarded(
                state=keep(state, guarded.state),
                good=good,
                step=guarded.step + good,
                batch=held(batch, guarded.batch),
                exempt=guarded.exempt,
            ),
            metrics,
        )


def guard(step: Callable[[Any, Any], tuple[Any, Any]]) -> Guard:
    """A step that, once it makes a NaN or Inf, keeps the state that led there.

    After each step one scalar says whether the new state and the metrics (the loss
    among them) are finite. A gradient need not be looked at itself: one that is not
    finite shows in the state, or the optimizer left it out on purpose
    (`optax.apply_if_finite`, loss scaling) and there is nothing to stop for. On the
    first bad step the state stays what it was, with the index and the batch of that
    step beside it, so that exactly this step can be replayed, donated buffers or not.
    Good steps give the bits that `step` gives. Works in `jax.jit` and as the body of
    `jax.lax.scan`; nothing is read by the host.

    Whatever the step returns must be finite: leave out a metric that is Inf on purpose.
    Whether an array is finite is seen from its sum: one that overflows counts as bad.

    Args:
        step: `(state, batch) -> (state, metrics)`, all that it carries in one state;
            the state keeps its types, the batches their shapes.

    Returns:
        A `Guard`: called as `(Guarded, batch) -> (Guarded, metrics)`, started by its
        method `start`. Metrics of later steps are those of the kept state.

    Raises:
        ProgramError: when called, if the state changes its type or is not guarded.

    Example:
        >>> def halve_until_zero(x, batch):
        ...     loss = 1 / x
        ...     return x - batch, loss
        >>> guarded = guard(halve_until_zero)
        >>> batches = jnp.asarray([1.0, 2.0, 1.0, 1.0])
        >>> start = guarded.start(jnp.asarray(3.0), batches[0])
        >>> end, losses = jax.lax.scan(guarded, start, batches)
        >>> bool(end.good), int(end.step), float(end.state), float(end.batch)
        (False, 2, 0.0, 1.0)
    """
    return Guard(step)


def finite_leaves(tree: Any) -> Any:
    """For each floating-point array, whether its sum is finite; ``(count,)``."""
    leaves = filter(_is_float, jax.tree.leaves(tree))
    flags = [jnp.isfinite(_total(leaf)) for leaf in leaves]
    return jnp.stack(flags) if flags else jnp.ones(0, bool)


def _require_alike(first: Any, batch: Any) -> None:
    given, wanted = jax.tree.leaves(batch), jax.tree.leaves(first)
    shapes = [jnp.shape(leaf) for leaf in given], [jnp.shape(leaf) for leaf in wanted]
    if shapes[0] != shapes[1]:
        raise ProgramError(
            f"this batch has arrays of shape {shapes[0]}, the one at the start had "
            f"{shapes[1]}; leave out a last batch of another size, or start anew with "
            "guard(step).start(guarded.state, batch)"
        )


def _count(returned: Any) -> str:
    if isinstance(returned, tuple):
        return f"{len(returned)} values"
    return f"a {type(returned).__name__}"


def _total(leaf: Any) -> Any:
    """Sum in float32 at least."""
    leaf = jnp.asarray(leaf)
    narrow = jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.dtype.itemsize < 4
    return leaf.sum(dtype=jnp.float32 if narrow else leaf.dtype)


def _is_float(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def _type(leaf: Any) -> tuple[Any, Any]:
    return jnp.shape(leaf), jnp.result_type(leaf)


def _choose(condition: Any, chosen: Any, other: Any) -> Any:
    return jax.lax.select(condition, jnp.asarray(chosen), jnp.asarray(other))
