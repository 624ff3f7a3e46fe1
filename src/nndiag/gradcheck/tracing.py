"""A function as a jaxpr in double precision, with the values it is called at."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.jaxprs import compat
from nndiag.jaxprs.arguments import named_leaves


class Traced(NamedTuple):
    """A function at its arguments.

    Attributes:
        jaxpr: closed, from the arrays among the arguments to the leaves of the result.
        values: the arrays, those of floating type widened to float64.
        paths: of the arrays, by parameter name.
        structure: of the result.
    """

    jaxpr: Any
    values: list[Any]
    paths: list[str]
    structure: Any


@contextlib.contextmanager
def wide() -> Iterator[None]:
    """Within it, JAX computes in float64, and no debug flag stops it."""
    with jax.enable_x64(True), compat.plain_evaluation():
        yield


def widen(value: Any) -> Any:
    """A floating array as float64 or complex128, anything else as it is."""
    dtype = jnp.result_type(value)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return jnp.asarray(value, jnp.complex128)
    if jnp.issubdtype(dtype, jnp.floating):
        return jnp.asarray(value, jnp.float64)
    return value


def trace(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Traced:
    """Traces `fn`, to be called within `wide`.

    Python's integers, booleans and whatever is no array stay constants. A function
    that insists on the precision it was given is traced in that.
    """
    leaves, structure = jax.tree.flatten((args, kwargs))
    names = [name for name, _ in named_leaves(fn, args, kwargs)]
    chosen = [i for i, leaf in enumerate(leaves) if _is_array(leaf)]
    result: list[Any] = []

    def flat(*values: Any) -> list[Any]:
        full = list(leaves)
        for index, value in zip(chosen, values, strict=True):
            full[index] = value
        inner_args, inner_kwargs = jax.tree.unflatten(structure, full)
        outputs, tree = jax.tree.flatten(fn(*inner_args, **inner_kwargs))
        result[:] = [tree]
        return outputs

    values = [widen(leaves[i]) for i in chosen]
    try:
        jaxpr = compat.trace(flat, *values)
    except TypeError:
        values = [leaves[i] for i in chosen]
        jaxpr = compat.trace(flat, *values)
    return Traced(jaxpr, values, [names[i] for i in chosen], result[0])


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic | float | complex)
