"""Steps whose numbers are on their way from the device, taken in batches.

To store one after each step costs more than to store them in a row: the training has
filled the caches of the processor in between.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import jax

_STEPS = 32
_SECONDS = 0.1
"""After so many new steps, or so long, a batch is due."""

T = TypeVar("T")


class Arrivals(Generic[T]):
    """A queue of steps.

    Args:
        numbers: the pytree of arrays that a step waits for.
    """

    def __init__(self, numbers: Callable[[T], Any]) -> None:
        self._numbers = numbers
        self._steps: deque[T] = deque()
        self._added = 0
        self._taken = time.perf_counter()

    def __bool__(self) -> bool:
        return bool(self._steps)

    @property
    def first(self) -> T | None:
        """The step that came first."""
        try:
            return self._steps[0]
        except IndexError:  # taken by another thread just now
            return None

    def add(self, step: T) -> None:
        """Takes in one more step."""
        self._steps.append(step)
        self._added += 1

    def pop(self) -> T:
        """Takes out the step that came first, whether it has arrived or not."""
        return self._steps.popleft()

    @property
    def is_due(self) -> bool:
        """Whether it is time to take what has arrived."""
        return self._added >= _STEPS or time.perf_counter() - self._taken >= _SECONDS

    def take(self) -> Iterator[T]:
        """Takes out what has arrived, in order."""
        self._added, self._taken = 0, time.perf_counter()
        while self._steps and self._has_arrived(self._steps[0]):
            yield self._steps.popleft()

    def _has_arrived(self, step: T) -> bool:
        leaves: list[Any] = jax.tree.leaves(self._numbers(step))
        return all(
            leaf.is_deleted() or leaf.is_ready()
            for leaf in leaves
            if hasattr(leaf, "is_ready")
        )
