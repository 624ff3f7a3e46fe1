"""What is to blame for a wrong gradient, and the program in which it is looked for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from nndiag.gradcheck.comparing import distance
from nndiag.gradcheck.listing import Edit, Listing, Step
from nndiag.gradcheck.tracing import trace

_MOST_TRIALS = 32
_MOST_STEPS = 8_000
"""Steps evaluated in the search for a slip; a long program gets fewer trials."""


class Blame(NamedTuple):
    """One place that explains a wrong gradient.

    Attributes:
        cause: in a word or two.
        words: what the gradient is; of a clip, what is to blame.
        residual: what is left unexplained, relative.
        file: of the place.
        line: of the place.
        bend: ‖given − derivative‖ / ‖derivative‖.
    """

    cause: str
    words: str
    residual: float
    file: str
    line: int
    bend: float


class Subject:
    """A function to be differentiated in other ways; to be used within `wide`.

    Args:
        fn: its first result is the scalar.
        args: its arguments.
        kwargs: further arguments.
        paths: of the leaves that it is differentiated by; all if `None`.

    Attributes:
        listing: the function, step by step.
        sources: numbers of the values that it is differentiated by.
        muted: edits of steps that are not edited otherwise.
        patience: how many trials are left.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        paths: Sequence[str] | None = None,
    ) -> None:
        traced = trace(fn, *args, **kwargs)
        self.listing = Listing(traced.jaxpr)
        self.muted: Mapping[int, Edit] = {}
        self.patience = max(
            _MOST_TRIALS, _MOST_STEPS // max(1, len(self.listing.steps))
        )
        self._values = traced.values
        self._chosen = [traced.paths.index(p) for p in paths or traced.paths]
        self.sources = [self.listing.inputs[i] for i in self._chosen]

    @functools.cached_property
    def values(self) -> dict[int, Any]:
        """Every value of the program, by its number."""
        return self.listing.run(self._values)[1]

    def gradient(self, edits: Mapping[int, Edit]) -> Any:
        """The gradient, as one vector, where some steps are edited; traceable."""

        def value(leaves: Sequence[Any]) -> Any:
            values = list(self._values)
            for index, leaf in zip(self._chosen, leaves, strict=True):
                values[index] = leaf
            return self.listing.run(values, {**self.muted, **edits})[0][0]

        self.patience -= 1
        found = jax.grad(value)([self._values[i] for i in self._chosen])
        return jax.numpy.concatenate([jax.numpy.ravel(leaf) for leaf in found])


def by_line(
    steps: Sequence[Step], indices: Sequence[int], alias: Mapping[str, str] = {}
) -> Iterator[list[int]]:
    """Groups of steps on one line, then the single steps; 32 at most.

    Args:
        steps: of a program.
        indices: of those to be grouped.
        alias: other names for primitives, so that two kinds make one group.
    """
    groups: dict[tuple[str, int, str], list[int]] = {}
    for index in indices:
        step = steps[index]
        name = step.equation.primitive.name
        key = step.file, step.line, alias.get(name, name)
        groups.setdefault(key, []).append(index)
    trials = [group for group in groups.values() if len(group) > 1]
    trials += [[index] for index in indices]
    yield from trials[:_MOST_TRIALS]


def place(step: Step) -> str:
    """Where a step stands, as the end of a phrase; `""` if that is unknown."""
    return f" at {Path(step.file).name}:{step.line}" if step.file else ""


def fit(given: Any, model: Any) -> tuple[float, float]:
    """The factor c by which c · model is nearest to `given`, and the residual."""
    square = float(np.vdot(model, model).real)
    factor = float(np.vdot(model, given).real) / square if square else 0.0
    return factor, distance(given, factor * model)


def joined(leaves: Sequence[Any]) -> Any:
    """Leaves as one vector."""
    return np.concatenate([np.ravel(np.asarray(leaf)) for leaf in leaves])
