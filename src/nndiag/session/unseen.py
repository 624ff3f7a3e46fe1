"""Tracing a function of a script once more, without the script noticing."""

from __future__ import annotations

import contextlib
import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import numpy as np


@contextlib.contextmanager
def unseen(drawn: Callable[[], None] | None = None) -> Iterator[list[str]]:
    """Within it, this thread prints nothing, and draws no random number for good.

    A function that is traced for the watched program runs once more in Python: what it
    prints has been printed, and `random` and `numpy.random` go on where they were.

    Args:
        drawn: from `random_state`: sets the generators back to where they were when
            the script's own trace began, so that this one draws the same.

    Yields:
        The warnings that nndiag gave, filled when the block ends; those of the function
        itself are left out, as it gave them before.
    """
    told: list[str] = []
    restore = random_state()
    with warnings.catch_warnings(record=True) as caught, _muted():
        warnings.simplefilter("always")
        try:
            if drawn is not None:
                drawn()
            yield told
        finally:
            restore()
    told += [str(w.message) for w in caught if "nndiag" in str(w.message)]


def random_state() -> Callable[[], None]:
    """What sets the global generators back to where they are now."""
    python, numpy = random.getstate(), np.random.get_state()

    def restore() -> None:
        random.setstate(python)
        np.random.set_state(numpy)

    return restore


class _Muted:
    """A stream that this thread cannot be heard on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._thread = stream, threading.get_ident()

    def write(self, text: str) -> int:
        if threading.get_ident() == self._thread:
            return len(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _muted() -> Iterator[None]:
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_Muted, streams)  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
