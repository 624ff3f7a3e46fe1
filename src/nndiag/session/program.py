"""The compiled program of a watched training run.

Many steps run in one dispatch, in a loop on the device. Steps that are not recorded
run the bare step, which knows nothing of nndiag; only a recorded one runs the watched
step. The loop alternates stretches of the one with single steps of the other, so no
step pays for a choice between them, and readings leave as rows of one small array.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.errors import ProgramError, SettingError
from nndiag.probes import Level, PackedReadings, watch
from nndiag.replay import finite_leaves
from nndiag.session.wording import name_and_text

LONGEST = 100
"""Steps per dispatch at most, so that a killed run has lost few of them."""

Step = Callable[[Any, Any], tuple[Any, dict[str, Any]]]


class Stretch(NamedTuple):
    """What a dispatch returned, still on the device.

    Attributes:
        state: the state after it.
        metrics: scalars of each step by name, shape ``[LONGEST]``.
        finite: of each array of the state after it, whether it is.
        packed: readings of each recorded step; `None` if the steps ran bare.
    """

    state: Any
    metrics: dict[str, Any]
    finite: Any
    packed: PackedReadings | None


class Program:
    """A compiled training loop over stacked batches ``[steps, batch, …]``.

    Args:
        step: the target's training step.
        level: what is measured on a recorded step.
        every: one step in `every` is recorded.

    Attributes:
        watching: whether steps are recorded at all; may be set to `False`.
        step: the training step, with only those of its metrics that are numbers.
    """

    def __init__(self, step: Step, level: Level, *, every: int) -> None:
        self.every = every
        self.watching = True
        self.step = _with_numbers_only(step)
        self._watch = watch(self.step, level=level)
        self._bare = jax.jit(self.step)
        self._measured = jax.jit(self._measure)
        self._advance = jax.jit(self._run, static_argnames="watching")

    def check(self, state: Any, data: Any) -> list[str]:
        """Traces the step, bare and watched, without running it.

        Returns:
            What will not be seen of the run, one sentence each.

        Raises:
            ProgramError: the step fails, takes no gradient, or does not return
                ``(state, metrics)`` with a state of the types it was given and a
                scalar ``metrics["loss"]``.
        """
        batch = jax.eval_shape(lambda stacked: _at(stacked, 0), data)
        try:
            returned = self._bare.eval_shape(state, batch)
        except Exception as error:
            raise ProgramError(f"train_step failed: {name_and_text(error)}") from error
        _check_outputs(jax.eval_shape(lambda tree: tree, state), returned)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                self._measured.eval_shape(state, batch)
            except (ProgramError, SettingError):
                raise
            except Exception as error:  # a fault of nndiag must not end the training
                self.watching = False
                return [f"nndiag could not watch train_step: {name_and_text(error)}"]
        return [str(w.message) for w in caught if "nndiag" in str(w.message)]

    def advance(
        self, state: Any, data: Any, start: int, steps: int, number: int
    ) -> Stretch:
        """Dispatches `steps` steps, at most `LONGEST`.

        Args:
            state: the state before them.
            data: stacked batches.
            start: index of the first batch.
            steps: how many.
            number: of the first step, in the run.
        """
        watching = self.watching
        return self._advance(state, data, start, steps, number, watching=watching)

    def _measure(self, state: Any, batch: Any) -> tuple[Any, Any, PackedReadings]:
        """The watched step, with its readings as one vector."""
        with warnings.catch_warnings():
            # Of its own faults a watch only warns; here they end the watching.
            warnings.filterwarnings("error", "nndiag could not watch")
            (state, metrics), readings = self._watch(state, batch)
        return state, metrics, readings

    def _run(
        self, state: Any, data: Any, start: Any, steps: Any, number: Any, watching: bool
    ) -> Stretch:
        _, shapes = self._bare.eval_shape(state, _at(data, 0))
        metrics = {n: jnp.zeros(LONGEST, v.dtype) for n, v in shapes.items()}

        def bare(i: Any, carry: Any) -> Any:
            state, metrics, rows = carry
            state, new = self._bare(state, _at(data, start + i))
            return state, _write(metrics, i, new), rows

        if not watching:
            carry = (state, metrics, None)
            after, metrics, _ = jax.lax.fori_loop(0, steps, bare, carry)
            return Stretch(after, metrics, finite_leaves(after), None)

        def watched(i: Any, carry: Any) -> Any:
            state, metrics, rows = carry
            state, new, row = self._measured(state, _at(data, start + i))
            rows = rows.at[i // self.every].set(row.numbers)
            return state, _write(metrics, i, new), rows

        def cycle(loop: Any) -> Any:
            """One watched step if it is due, then bare ones up to the next."""
            i, carry = loop
            due = (number + i) % self.every == 0
            after = i + due.astype(i.dtype)
            carry = jax.lax.fori_loop(i, after, watched, carry)
            last = jnp.minimum(i + self.every - (number + i) % self.every, steps)
            return last, jax.lax.fori_loop(after, last, bare, carry)

        one = self._measured.eval_shape(state, _at(data, 0))[2]
        shape = -(-LONGEST // self.every), *one.numbers.shape
        rows = jnp.zeros(shape, one.numbers.dtype)
        _, (after, metrics, rows) = jax.lax.while_loop(
            lambda loop: loop[0] < steps,
            cycle,
            (jnp.asarray(0, jnp.int32), (state, metrics, rows)),
        )
        packed = PackedReadings(rows, one.layout)
        return Stretch(after, metrics, finite_leaves(after), packed)


def settle(state: Any) -> Any:
    """The state as arrays of definite types, as a loop on the device carries it."""
    return jax.tree.map(_settled, state)


def _settled(leaf: Any) -> Any:
    if not _is_numeric(leaf):
        return leaf  # a random key; or no array, which the trace refuses in its words
    array = jnp.asarray(leaf)
    return jax.lax.convert_element_type(array, array.dtype)  # no weak type


def _at(data: Any, index: Any) -> Any:
    return jax.tree.map(lambda stacked: stacked[index], data)


def _write(metrics: dict[str, Any], i: Any, new: dict[str, Any]) -> dict[str, Any]:
    return {name: held.at[i].set(new[name]) for name, held in metrics.items()}


def _with_numbers_only(step: Step) -> Step:
    """The step with those of its metrics that are one number, and its loss."""

    @functools.wraps(step)
    def wrapped(state: Any, batch: Any) -> Any:
        returned = step(state, batch)
        if not (isinstance(returned, tuple) and len(returned) == 2):
            return returned
        state, metrics = returned
        if not isinstance(metrics, dict):
            return returned
        return state, {
            name: jnp.asarray(value)
            for name, value in metrics.items()
            if _is_numeric(value)
            and isinstance(name, str)
            and (np.ndim(value) == 0 or name == "loss")
        }

    return wrapped


def _is_numeric(value: Any) -> bool:
    if isinstance(value, bool | int | float):
        return True
    dtype = getattr(value, "dtype", None)
    return dtype is not None and (
        jnp.issubdtype(dtype, jnp.integer)
        or jnp.issubdtype(dtype, jnp.floating)
        or jnp.issubdtype(dtype, jnp.bool_)
    )


def _check_outputs(before: Any, returned: Any) -> None:
    if not (isinstance(returned, tuple) and len(returned) == 2):
        raise ProgramError("train_step must return (state, metrics)")
    after, metrics = returned
    if not isinstance(metrics, dict) or "loss" not in metrics:
        raise ProgramError('train_step returns no number metrics["loss"]')
    loss = metrics["loss"]
    if loss.shape != () or not jnp.issubdtype(loss.dtype, jnp.floating):
        raise ProgramError(
            f'metrics["loss"] is {_type(loss)}; it must be a '
            "floating-point scalar: take the mean over the batch"
        )
    if jax.tree.structure(before) != jax.tree.structure(after):
        raise ProgramError(
            "train_step returns a state of another structure than it was given"
        )
    leaves = jax.tree_util.tree_leaves_with_path(before)
    for (path, old), new in zip(leaves, jax.tree.leaves(after), strict=True):
        if _type(old) != _type(new):
            raise ProgramError(
                f"train_step was given state{jax.tree_util.keystr(path)} as "
                f"{_type(old)} and returns it as {_type(new)}; "
                "it must keep type and shape"
            )


def _type(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}"
