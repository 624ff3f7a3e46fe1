"""Seeing the gradients that a function takes while it is traced."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from jax._src import api as _api
from jax._src import config as _config
from jax._src import core as _core

# Part of the key of JAX's trace caches: what was traced under watch is never handed
# to the unwatched program, nor the other way round.
_watching = _config.bool_state(
    "nndiag_watching",
    False,
    "Set while nndiag traces a function that it watches.",
    include_in_trace_context=True,
)
_lock = threading.Lock()
_depth = 0
_bare_vjp = _api.vjp
_witnesses: list[Callable[[], None]] = []


class _Own(threading.local):
    """What this thread's gradients are differentiated by under watch."""

    vjp: Callable[..., Any] | None = None


_own = _Own()


def is_watching() -> bool:
    """Whether this thread is tracing a watched function."""
    return bool(_watching.value)


def is_tracing() -> bool:
    """Whether this thread is tracing any function."""
    return not _core.trace_state_clean()


@contextlib.contextmanager
def intercepted_gradients(vjp: Callable[..., Any]) -> Iterator[None]:
    """Within it, `jax.grad` and `jax.value_and_grad` differentiate by `vjp`.

    Both look `vjp` up in their own module at each call, so functions made earlier
    (`grad_loss = jax.grad(loss)` at the top of a module) and other libraries' uses
    are seen as well. Other threads keep the plain one.

    Args:
        vjp: takes the plain `jax.vjp`, then the arguments of `jax.vjp`.
    """
    before, _own.vjp = _own.vjp, vjp
    try:
        with _dispatched(), _watching(True):
            yield
    finally:
        _own.vjp = before


@contextlib.contextmanager
def witnessed_gradients(witness: Callable[[], None]) -> Iterator[None]:
    """Within it, `witness` is called at each gradient taken, in any thread.

    Gradients that a watched function takes are left out.
    """
    with _dispatched():
        _witnesses.append(witness)
        try:
            yield
        finally:
            _witnesses.remove(witness)


def _dispatch(fun: Callable[..., Any], *primals: Any, **options: Any) -> Any:
    if is_watching() and _own.vjp is not None:
        return _own.vjp(_bare_vjp, fun, *primals, **options)
    for witness in tuple(_witnesses):
        witness()
    return _bare_vjp(fun, *primals, **options)


@contextlib.contextmanager
def _dispatched() -> Iterator[None]:
    global _depth
    with _lock:
        _depth += 1
        _api.vjp = _dispatch
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _api.vjp = _bare_vjp
