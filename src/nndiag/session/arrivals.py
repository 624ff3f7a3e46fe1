"""Steps whose numbers are on their way from the device, taken in batches.

To store one costs several times as much when the step of the training that comes
before it has just used all caches of the processor: so some are gathered first.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import jax

_STEPS = 32
_SECONDS = 0.1

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

    def batch(self) -> Iterator[T]:
        """Takes out what has arrived, in order, at times; or nothing yet."""
        now = time.perf_counter()
        if self._added < _STEPS and now - self._taken < _SECONDS:
            return
        self._added, self._taken = 0, now
        while self._steps and self._has_arrived(self._steps[0]):
            yield self._steps.popleft()

    def _has_arrived(self, step: T) -> bool:
        leaves: list[Any] = jax.tree.leaves(self._numbers(step))
        return all(
            leaf.is_deleted() or leaf.is_ready()
            for leaf in leaves
            if hasattr(leaf, "is_ready")
        )
