"""Standing beside `jax.jit` while a script runs."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax


class Jitted:
    """A function that a script jitted; like JAX's own in every other respect.

    Args:
        fun: the function under `jax.jit`.
        compiled: what `jax.jit` makes of it.
        call: answers each call in its place, given this, the arguments and the
            keyword arguments.

    Attributes:
        fun: as given.
        compiled: as given.
    """

    def __init__(
        self,
        fun: Any,
        compiled: Any,
        call: Callable[[Jitted, tuple[Any, ...], dict[str, Any]], Any],
    ) -> None:
        functools.update_wrapper(self, fun)
        self.fun, self.compiled, self._call = fun, compiled, call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the script gets."""
        return self._call(self, args, kwargs)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __getattr__(self, name: str) -> Any:
        if name == "compiled":  # not there yet: it is being copied
            raise AttributeError(name)
        return getattr(self.compiled, name)

    def __deepcopy__(self, memo: Any) -> Jitted:
        return self


@contextlib.contextmanager
def replaced_jit(make: Callable[[Any, dict[str, Any]], Any]) -> Iterator[None]:
    """Within it, `jax.jit` returns what `make` makes of a function and its options."""
    before = jax.jit

    def jit(fun: Any = None, **options: Any) -> Any:
        if fun is None:
            return functools.partial(jit, **options)
        return make(fun, options)

    jax.jit = functools.update_wrapper(jit, before)  # type: ignore[assignment]
    try:
        yield
    finally:
        jax.jit = before
