"""The leaves of a call's arguments, named as the function names its parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax


def parameter_names(fn: Callable[..., Any], count: int) -> list[str]:
    """Names of `count` positional arguments: `params`, `rest[1]`, `args[0]`."""
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    kinds = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    own = [p.name for p in parameters if p.kind in kinds][:count]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "")
    first = len(own) if rest else 0
    return own + [f"{rest or 'args'}[{i - first}]" for i in range(len(own), count)]


def named_leaves(
    fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[tuple[str, Any]]:
    """All leaves of the arguments, in the order in which JAX flattens them.

    Example:
        >>> named_leaves(lambda params, x: 0, ({"w": 1.0},), {"x": 2.0})
        [("params['w']", 1.0), ('x', 2.0)]
    """
    names = parameter_names(fn, len(args))
    rows = [*zip(names, args, strict=True), *sorted(kwargs.items())]
    return [
        (name + jax.tree_util.keystr(path), leaf)
        for name, value in rows
        for path, leaf in jax.tree_util.tree_flatten_with_path(value)[0]
    ]
