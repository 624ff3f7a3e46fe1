"""Where an equation was written."""

from __future__ import annotations

import contextlib
import inspect
import os
import threading
from collections.abc import Iterator
from typing import Any

import jax
from jax._src import config as _config
from jax._src import source_info_util as _source_info
from jax._src.interpreters import ad

from nndiag.jaxprs.compat.equations import Equation


def user_frames(equation: Equation) -> Iterator[tuple[str, int]]:
    """File and line of the calls outside JAX behind `equation`, innermost first."""
    for frame in _source_info.user_frames(equation.source_info.traceback):
        yield frame.file_name, frame.start_line


_JAX = os.path.dirname(inspect.getfile(jax))  # noqa: PTH120


def is_jax_function(equation: Equation) -> bool:
    """Whether a `jit` equation calls a function of JAX itself, such as `jnp.var`.

    JAX traces it once for all calls, so that the equations of its body carry the line
    of the first call, or none.
    """
    about = getattr(equation.params.get("jaxpr"), "debug_info", None)
    return f" at {_JAX}" in (getattr(about, "func_src_info", None) or "")


def user_position(equation: Equation, file: str, line: int) -> tuple[str, int]:
    """The full name of `file`, and the column, from 1, where its `line` is called.

    Returns:
        `("", 0)` if no frame of the equation is there.
    """
    for frame in _source_info.user_frames(equation.source_info.traceback):
        if frame.start_line == line and frame.file_name.endswith(file):
            return frame.file_name, frame.start_column + 1
    return "", 0


# Part of the key of JAX's trace caches: what was traced before is traced anew.
_replaying = _config.bool_state(
    "nndiag_replaying",
    False,
    "Set while nndiag traces a function that it replays.",
    include_in_trace_context=True,
)
_lock = threading.Lock()


@contextlib.contextmanager
def lines_of_rules() -> Iterator[None]:
    """Within it, equations of a `custom_vjp` backward rule carry the rule's own lines.

    JAX calls the rule under the source line of the function's call, and equations
    traced there carry that one; here, they carry the lines of the Python stack.
    """
    held = getattr(ad, "fancy_transposes", {})
    table = held if ad.custom_lin_p in held else ad.primitive_transposes
    transpose = table[ad.custom_lin_p]

    def transposed(*args: Any, **params: Any) -> Any:
        holder = _source_info._source_info_context
        before = holder.context
        holder.context = _source_info.SourceInfo(None, before.name_stack)
        try:
            return transpose(*args, **params)
        finally:
            holder.context = before

    with _lock:
        table[ad.custom_lin_p] = transposed
        try:
            with _replaying(True):
                yield
        finally:
            table[ad.custom_lin_p] = transpose
