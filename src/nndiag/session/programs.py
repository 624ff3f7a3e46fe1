"""The two compiled programs of a watched training run.

Steps that are not recorded run the bare program, which knows nothing of nndiag: a loop
on the device over any number of steps, compiled once. A recorded step runs the watched
program, whose readings leave as one small array.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.errors import ProgramError
from nndiag.probes import Level, watch
from nndiag.records import Readings

LONGEST = 100
"""Bare steps per dispatch at most, so that a killed run has lost few of them."""

Step = Callable[[Any, Any], tuple[Any, dict[str, Any]]]


class Watched(NamedTuple):
    """What the watched program returned, still on the device."""

    state: Any
    metrics: dict[str, Any]
    packed: Any


class Programs:
    """Compiled programs for stacked batches, shape ``[steps, batch, …]``.

    Args:
        step: the target's training step.
        level: what the watched program measures.
        longest: the largest number of steps that `bare` will be asked for at once.

    Attributes:
        longest: as given.
        watchable: whether there is a watched program; `check` finds out.
    """

    def __init__(self, step: Step, level: Level, *, longest: int) -> None:
        self._step = step
        self._watch = watch(step, level=level)
        self.longest = longest
        self.watchable = True
        self._structure: Any = None
        self._shapes: list[tuple[int, ...]] = []
        self._watched = jax.jit(self._run_watched)
        self._bare = jax.jit(self._run_bare)

    def check(self, state: Any, data: Any) -> list[str]:
        """Traces both programs without running them.

        Returns:
            What the watched program will not see, one sentence each.

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
                self._watched.eval_shape(state, data, 0)
            except ProgramError:
                raise
            except Exception as error:  # a fault of nndiag must not end the training
                self.watchable = False
                return [f"nndiag could not watch train_step: {_line(error)}"]
        return [str(w.message) for w in caught if "nndiag" in str(w.message)]

    def watched(self, state: Any, data: Any, index: int) -> Watched:
        """One watched step, on batch `index` of `data`."""
        return Watched(*self._watched(state, data, index))

    def bare(self, state: Any, data: Any, start: int, count: int) -> tuple[Any, Any]:
        """`count` bare steps from batch `start`: the state, metrics ``[longest]``."""
        return self._bare(state, data, start, count)

    def unpack(self, packed: Any) -> Readings:
        """The readings of a watched step, as NumPy arrays."""
        flat = np.asarray(packed)
        leaves, position = [], 0
        for shape in self._shapes:
            size = int(np.prod(shape))
            leaves.append(flat[position : position + size].reshape(shape))
            position += size
        return self._structure.unflatten(leaves)

    def _run_watched(self, state: Any, data: Any, index: Any) -> tuple[Any, Any, Any]:
        (state, metrics), readings = self._watch(state, _at(data, index))
        leaves, self._structure = jax.tree.flatten(readings)
        self._shapes = [leaf.shape for leaf in leaves]
        packed = jnp.concatenate([leaf.ravel().astype(jnp.float32) for leaf in leaves])
        return state, _scalars(metrics), packed

    def _run_bare(
        self, state: Any, data: Any, start: Any, count: Any
    ) -> tuple[Any, dict[str, Any]]:
        shapes = jax.eval_shape(self._step, state, _at(data, 0))[1]
        empty = {
            name: jnp.zeros((self.longest,), value.dtype)
            for name, value in _scalars(shapes).items()
        }

        def advance(i: Any, carry: tuple[Any, Any]) -> tuple[Any, Any]:
            state, metrics = carry
            state, new = self._step(state, _at(data, start + i))
            new = _scalars(new)
            return state, {n: metrics[n].at[i].set(new[n]) for n in metrics}

        return jax.lax.fori_loop(0, count, advance, (state, empty))


def _at(data: Any, index: Any) -> Any:
    return jax.tree.map(lambda stacked: stacked[index], data)


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
