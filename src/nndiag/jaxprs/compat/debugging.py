"""JAX's own debugging flags."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax
from jax._src import api as _api
from jax._src import config as _config


def debug_nans_is_on() -> bool:
    """Whether `jax_debug_nans` is set."""
    return bool(_config.debug_nans.value)


def debug_nans_is_dead() -> bool:
    """Whether `jax_debug_nans` is on but no longer checks what is compiled.

    Since JAX 0.8, leaving any `jax.debug_nans(...)` context, which JAX itself does
    while tracing `jnp.var`, a `relu` or the gradient of a scan, overwrites this
    thread's check with "none".
    """
    if not debug_nans_is_on():
        return False
    hook = _api._post_hook_state
    return hook.get_local() is None and hook.get_global() is not None


def revive_debug_nans() -> None:
    """Undoes what `debug_nans_is_dead` describes, for this thread."""
    _api._post_hook_state.set_local(_config.config_ext.unset)


@contextlib.contextmanager
def plain_evaluation() -> Iterator[None]:
    """Within it, no debug flag of JAX stops or slows the evaluation of equations."""
    hook = _api._post_hook_state
    before = hook.get_local()
    try:
        with jax.debug_nans(False), jax.debug_infs(False), jax.disable_jit(False):
            yield
    finally:
        # Leaving `jax.debug_nans` would switch off this thread's check for good.
        hook.set_local(before)
