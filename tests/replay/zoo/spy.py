"""Watches a program run operation by operation: the oracle for the truths of the zoo.

Under `jax.disable_jit` loops and branches run in Python, and every operation is bound
with concrete values. The spy notes each that puts out a NaN or Inf where none came in,
with the line of the zoo that the Python stack is in. It knows nothing of jaxprs. In a
backward pass the stack is in the call of `jax.grad`, so lines are only known forward.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive

FOLDER = str(Path(__file__).parent)
STRUCTURE = {"jit", "scan", "while", "cond", "remat2", "custom_jvp_call"}
STRUCTURE |= {"custom_vjp_call", "checkpoint", "pjit"}


class Sighting(NamedTuple):
    """An operation that put out a NaN or Inf."""

    kind: str
    primitive: str
    line: int
    element: tuple[int, ...]


@contextmanager
def spying() -> Iterator[list[Sighting]]:
    """Within it, the sightings are collected."""
    seen: list[Sighting] = []
    bare = Primitive.bind_with_trace

    def bind(self: Any, trace: Any, args: Any, *rest: Any) -> Any:
        out = bare(self, trace, args, *rest)
        if self.name not in STRUCTURE and not any(map(_is_tracer, args)):
            inputs = [_floats(value) for value in args]
            for value in out if self.multiple_results else [out]:
                if not _is_tracer(value):
                    _note(seen, self.name, inputs, _floats(value))
        return out

    Primitive.bind_with_trace = bind
    try:
        with jax.disable_jit():
            yield seen
    finally:
        Primitive.bind_with_trace = bare


def _note(seen: list[Sighting], name: str, inputs: list[Any], result: Any) -> None:
    for kind, test in (("nan", np.isnan), ("inf", np.isinf)):
        bad = test(result)
        for value in inputs:
            if kind == "inf" and not np.isfinite(value).all():
                bad = np.zeros_like(bad)
            if np.isnan(value).any():
                alike = value.shape == bad.shape
                bad = bad & ~np.isnan(value) if alike else np.zeros_like(bad)
        if bad.any():
            first = tuple(int(i) for i in np.argwhere(bad)[0])
            seen.append(Sighting(kind, name, _line(), first))


def _is_tracer(value: Any) -> bool:
    return isinstance(value, jax.core.Tracer)


def _floats(value: Any) -> Any:
    dtype = getattr(value, "dtype", np.dtype(type(value)))
    if not jnp.issubdtype(dtype, jnp.inexact):
        return np.zeros(())
    return np.asarray(value).astype(np.float64)


def _line() -> int:
    """The innermost line of the zoo in the stack."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(FOLDER) and file != __file__:
            return frame.f_lineno
        frame = frame.f_back
    return 0
