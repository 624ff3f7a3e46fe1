"""Which array of a user's gradient belongs to which leaf."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.errors import ProgramError
from nndiag.gradcheck.point import Leaf, Point


def match(gradient: Any, point: Point, name: str) -> list[Any]:
    """The arrays of `gradient`, one for each checked leaf.

    Taken are: the structure of the arguments (of the argument, if only one holds
    checked leaves), with anything in place of leaves that are not checked; a dictionary
    by path or by last key; the arrays in order; one flat vector; a pair of the function
    value and any of these.

    Raises:
        ProgramError: it fits in no way; the message shows both structures.
    """
    for candidate in (gradient, *_second(gradient)):
        found = _by_structure(candidate, point) or _by_order(candidate, point)
        if found is not None:
            return found
    raise ProgramError(_side_by_side(gradient, point, name))


def selected(gradient: Any, args: Sequence[Any]) -> tuple[int, ...] | None:
    """The arguments that a gradient is by, seen from its structure.

    As for `jax.grad`, that is the first argument, unless the gradient has the structure
    of all of them.
    """
    count = min(len(jax.tree.leaves(v)) for v in (gradient, *_second(gradient)))
    first, every = _count(args[:1]), _count(args)
    return None if count == every != first else (0,)


def _count(args: Sequence[Any]) -> int:
    return len([value for value in jax.tree.leaves(tuple(args)) if _is_inexact(value)])


def _second(gradient: Any) -> list[Any]:
    """The gradients in what a `value_and_grad` returns."""
    pair = isinstance(gradient, tuple) and len(gradient) == 2
    number = pair and _numeric(gradient[0]) and np.ndim(gradient[0]) == 0
    return [gradient[1]] if number else []


def _by_structure(gradient: Any, point: Point) -> list[Any] | None:
    """Leaves that lie at the same paths."""
    rows = jax.tree_util.tree_flatten_with_path(gradient)[0]
    keyed = {jax.tree_util.keystr(path): leaf for path, leaf in rows}
    if isinstance(gradient, dict):
        keyed.update({str(key): value for key, value in gradient.items()})
    short = {_last(key): leaf for key, leaf in keyed.items()}
    for names in (
        [leaf.path for leaf in point.checked],
        [_within(leaf.path) for leaf in point.checked],
    ):
        if len(set(names)) == len(names) and all(name in keyed for name in names):
            return _fitting([keyed[name] for name in names], point)
    lasts = [_last(leaf.path) for leaf in point.checked]
    unique = len(set(lasts)) == len(lasts) and len(short) == len(keyed)
    if unique and isinstance(gradient, dict) and all(last in short for last in lasts):
        return _fitting([short[last] for last in lasts], point)
    return None


def _by_order(gradient: Any, point: Point) -> list[Any] | None:
    leaves = jax.tree.leaves(gradient)
    if len(leaves) == len(point.checked):
        return _fitting(leaves, point)
    counts = [max(1, int(np.prod(leaf.shape, dtype=int))) for leaf in point.checked]
    if len(leaves) == 1 and np.shape(leaves[0]) == (sum(counts),):
        stops = np.cumsum(counts)
        parts = [leaves[0][b - n : b] for b, n in zip(stops, counts, strict=True)]
        pairs = zip(parts, point.checked, strict=True)
        return [part.reshape(leaf.shape) for part, leaf in pairs]
    return None


def _fitting(values: list[Any], point: Point) -> list[Any] | None:
    pairs = list(zip(values, point.checked, strict=True))
    if all(_fits(value, leaf) for value, leaf in pairs):
        return values
    return None


def _fits(value: Any, leaf: Leaf) -> bool:
    is_number = (
        jnp.issubdtype(jnp.result_type(value), np.number) if _numeric(value) else 0
    )
    return bool(is_number) and tuple(np.shape(value)) == leaf.shape


def _numeric(value: Any) -> bool:
    return isinstance(
        value, jax.Array | np.ndarray | np.generic | float | int | complex
    )


def _is_inexact(value: Any) -> bool:
    return _numeric(value) and bool(jnp.issubdtype(jnp.result_type(value), np.inexact))


def _within(path: str) -> str:
    """The path inside its argument: `params['w']` is at `['w']`."""
    starts = [path.find(sign) for sign in "[." if sign in path]
    return path[min(starts) :] if starts else ""


def _last(path: str) -> str:
    return path.replace("]", "").replace("[", ".").rpartition(".")[2].strip("'\"")


def _side_by_side(gradient: Any, point: Point, name: str) -> str:
    left = [f"{leaf.path}: {leaf.dtype}{list(leaf.shape)}" for leaf in point.checked]
    rows = jax.tree_util.tree_flatten_with_path(gradient)[0]
    right = [
        f"{jax.tree_util.keystr(path) or 'result'}: "
        + (
            f"{jnp.result_type(v)}{list(np.shape(v))}"
            if _numeric(v)
            else type(v).__name__
        )
        for path, v in rows
    ] or [type(gradient).__name__]
    count = max(len(left), len(right))
    width = max(len("arguments"), *map(len, left))
    left += [""] * (count - len(left))
    right += [""] * (count - len(right))
    lines = [f"  {'arguments':<{width}}   what {name} returned"]
    lines += [f"  {a:<{width}}   {b}" for a, b in zip(left, right, strict=True)]
    return "the gradient does not have the structure of the arguments\n" + "\n".join(
        lines
    )
