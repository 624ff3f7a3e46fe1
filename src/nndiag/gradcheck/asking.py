"""What a check was asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.errors import SettingError
from nndiag.gradcheck.matching import selected

MODES = ("reverse", "forward")


def require_known(args: Sequence[Any], order: int, modes: Sequence[str]) -> None:
    """Raises a `SettingError` for an unknown order or mode."""
    unknown = [mode for mode in modes if mode not in MODES]
    if unknown or not modes:
        raise SettingError(f"modes are 'reverse' and 'forward', not {list(modes)}")
    if order not in (1, 2):
        raise SettingError(f"order is 1 or 2, not {order}")


def selected_arguments(
    argnums: int | Sequence[int] | None,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    gradient: Callable[..., Any] | None,
) -> tuple[int, ...] | None:
    """The numbers of the arguments that are checked, `None` for all.

    Raises:
        SettingError: there is no argument of that number.
    """
    if argnums is None:
        if gradient is None or not args:
            return None
        return selected(gradient(*args, **kwargs), args)
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for number in numbers:
        if not -len(args) <= number < len(args):
            raise SettingError(
                f"argnums names argument {number}, but there are {len(args)}"
            )
    return tuple(number % len(args) for number in numbers)


def generator(key: Any) -> np.random.Generator:
    """Where random directions come from: a JAX key, a number, or nothing for 0."""
    if key is None or isinstance(key, int):
        return np.random.default_rng(key or 0)
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.key_data(key)
    return np.random.default_rng(np.asarray(key).astype(np.uint32).tolist())
