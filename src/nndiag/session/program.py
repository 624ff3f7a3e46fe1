"""The compiled program of a watched training run.

Many steps run in one dispatch, in a loop on the device. Steps that are not recorded
run the bare step, which knows nothing of nndiag; only a recorded one runs the watched
step. The loop alternates stretches of the one with single steps of the other, so no
step pays for a choice between them, and readings leave as rows of one small array.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nndiag.errors import ProgramError
from nndiag.probes import Level, watch
from nndiag.records import Readings

LONGEST = 100
"""Steps per dispatch at most, so that a killed run has lost few of them."""

Step = Callable[[Any, Any], tuple[Any, dict[str, Any]]]


class Stretch(NamedTuple):
    """What a dispatch returned, still on the device.

    Attributes:
        state: the state after it.
        metrics: scalars of each step by name, shape ``[LONGEST]``.
        packed: readings of each recorded step, shape ``[records, numbers]``.
    """

    state: Any
    metrics: dict[str, Any]
    packed: Any


class Program:
    """A compiled training loop over stacked batches ``[steps, batch, …]``.

    Args:
        step: the target's training step.
        level: what is measured on a recorded step.
        every: one step in `every` is recorded.
    """

    def __init__(self, step: Step, level: Level, *, every: int) -> None:
        self.every = every
        self._step = step
        self._watch = watch(step, level=level)
        self._watchable = True
        self._measured = jax.jit(self._measure)
        self._advance = jax.jit(self._run)
        self._structure: Any = None
        self._shapes: list[tuple[int, ...]] = []

    def check(self, state: Any, data: Any) -> list[str]:
        """Traces the step, bare and watched, without running it.

        Returns:
            What will not be seen of the run, one sentence each.

        Raises:
            ProgramError: the step fails, takes no gradient, or does not return
                ``(state, metrics)`` with a scalar ``metrics["loss"]``.
        """
        try:
            returned = jax.eval_shape(self._step, state, _at(data, 0))
        except Exception as error:
            raise ProgramError(f"train_step failed: {_line(error)}") from error
        _check_outputs(jax.eval_shape(lambda tree: tree, state), returned)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                self._measured.eval_shape(state, _at(data, 0))
            except ProgramError:
                raise
            except Exception as error:  # a fault of nndiag must not end the training
                self._watchable = False
                return [f"nndiag could not watch train_step: {_line(error)}"]
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
        return Stretch(*self._advance(state, data, start, steps, number))

    def records(self, number: int) -> bool:
        """Whether step `number` of the run is recorded."""
        return self._watchable and number % self.every == 0

    def unpack(self, packed: Any) -> Readings:
        """The readings of one recorded step, as floats and NumPy arrays."""
        numbers, leaves, position = packed.tolist(), [], 0
        for shape in self._shapes:
            size = math.prod(shape)
            if shape:
                leaves.append(packed[position : position + size].reshape(shape))
            else:
                leaves.append(numbers[position])
            position += size
        return self._structure.unflatten(leaves)

    def _measure(self, state: Any, batch: Any) -> tuple[Any, Any, Any]:
        """The watched step, with its readings as one vector."""
        (state, metrics), readings = self._watch(state, batch)
        leaves, self._structure = jax.tree.flatten(readings)
        self._shapes = [leaf.shape for leaf in leaves]
        packed = jnp.concatenate([leaf.ravel().astype(jnp.float32) for leaf in leaves])
        return state, metrics, packed

    def _run(self, state: Any, data: Any, start: Any, steps: Any, number: Any) -> Any:
        _, shapes = jax.eval_shape(self._step, state, _at(data, 0))
        metrics = {
            name: jnp.zeros(LONGEST, value.dtype)
            for name, value in _scalars(shapes).items()
        }
        packed = jnp.zeros((0, 0))
        if self._watchable:
            numbers = self._measured.eval_shape(state, _at(data, 0))[2]
            packed = jnp.zeros((-(-LONGEST // self.every), *numbers.shape))

        def bare(i: Any, carry: Any) -> Any:
            state, metrics, packed = carry
            state, new = self._step(state, _at(data, start + i))
            return state, _write(metrics, i, new), packed

        def watched(i: Any, carry: Any) -> Any:
            state, metrics, packed = carry
            state, new, row = self._measured(state, _at(data, start + i))
            return state, _write(metrics, i, new), packed.at[i // self.every].set(row)

        def cycle(loop: Any) -> Any:
            """One watched step if it is due, then bare ones up to the next."""
            i, carry = loop
            due = (number + i) % self.every == 0
            after = i + due.astype(i.dtype)
            carry = jax.lax.fori_loop(i, after, watched, carry)
            last = jnp.minimum(i + self.every - (number + i) % self.every, steps)
            return last, jax.lax.fori_loop(after, last, bare, carry)

        carry = (state, metrics, packed)
        if not self._watchable:
            return jax.lax.fori_loop(0, steps, bare, carry)
        first = jnp.asarray(0, jnp.int32)
        return jax.lax.while_loop(lambda loop: loop[0] < steps, cycle, (first, carry))[
            1
        ]


def _at(data: Any, index: Any) -> Any:
    return jax.tree.map(lambda stacked: stacked[index], data)


def _write(metrics: dict[str, Any], i: Any, new: dict[str, Any]) -> dict[str, Any]:
    return {name: held.at[i].set(new[name]) for name, held in metrics.items()}


def _scalars(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if value.shape == ()}


def _check_outputs(before: Any, returned: Any) -> None:
    if not (isinstance(returned, tuple) and len(returned) == 2):
        raise ProgramError("train_step must return (state, metrics)")
    after, metrics = returned
    if not isinstance(metrics, dict) or "loss" not in metrics:
        raise ProgramError('train_step returns no metrics["loss"]')
    loss = metrics["loss"]
    if loss.shape != () or not jnp.issubdtype(loss.dtype, jnp.floating):
        raise ProgramError(
            f'metrics["loss"] is {loss.dtype}{list(loss.shape)}; it must be a '
            "floating-point scalar: take the mean over the batch"
        )
    if jax.tree.structure(before) != jax.tree.structure(after):
        raise ProgramError(
            "train_step returns a state of another structure than it was given"
        )


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
