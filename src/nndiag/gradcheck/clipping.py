"""The clip within a hand-written gradient that bends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from nndiag.gradcheck.blaming import Blame, by_line, fit, joined, place
from nndiag.gradcheck.comparing import distance
from nndiag.gradcheck.listing import Edit, Listing, Step, read
from nndiag.gradcheck.tracing import trace

CLIP = "clipped inside"
_LIMITS = {"max": "at least", "min": "at most"}


def blame_clip(
    gradient: Callable[..., Any],
    args: Sequence[Any],
    kwargs: dict[str, Any],
    given: Sequence[Any],
    expected: Sequence[Any],
    rounding: float,
) -> Blame | None:
    """The clip in a hand-written gradient without which it is the derivative.

    Each `clip`, `maximum`, `minimum`, `clamp` and `where` in the gradient that JAX can
    trace is taken out in turn, all those of one line together first.

    Args:
        gradient: as the user wrote it; to be called within `wide`.
        args: its arguments.
        kwargs: further arguments.
        given: what it returned, leaf by leaf.
        expected: the derivative, leaf by leaf.
        rounding: largest residual that rounding can make, relative.
    """
    try:
        traced = trace(gradient, *args, **kwargs)
    except Exception:  # NumPy code cannot be traced; its numbers have been looked at
        return None
    listing = Listing(traced.jaxpr)
    if len(listing.outputs) != len(expected):
        return None
    _, values = listing.run(traced.values)
    right = joined(expected)
    for indices in _clips(listing.steps, set(listing.constants)):
        for choice in _choices(listing.steps[indices[0]]):
            edits = {i: _passing(choice) for i in indices}
            outputs, _ = listing.run(traced.values, edits)
            found = joined(outputs)
            if found.shape != right.shape or not np.isfinite(found).all():
                continue
            factor, residual = fit(found, right)
            if residual > rounding or not factor or not found.any():
                continue
            bend = distance(factor * right, joined(given))
            step = listing.steps[indices[0]]
            steps = [listing.steps[i] for i in indices]
            is_that = (
                f"{factor:.6g} times the derivative"
                if abs(factor - 1) > rounding
                else "the derivative"
            )
            words = (
                f"{_describe(steps, values)}; without it, it is {is_that} "
                f"to {residual:.0e}"
            )
            return Blame(CLIP, words, residual, step.file, step.line, bend)
    return None


def _clips(steps: Sequence[Step], fixed: set[int]) -> Iterator[list[int]]:
    limiting = [i for i, step in enumerate(steps) if list(_choices(step))]
    yield from by_line(steps, limiting, dict.fromkeys(_LIMITS, "clip"))


def _choices(step: Step) -> Iterator[int]:
    """The operands that a step would return if it did not choose."""
    name, shape = step.equation.primitive.name, step.equation.outvars[0].aval.shape
    operands = range(len(step.inputs))
    among = (
        operands
        if name in _LIMITS
        else (1,)
        if name == "clamp"
        else operands[1:]
        if name == "select_n"
        else ()
    )
    for number in among:
        variable = step.equation.invars[number]
        if isinstance(step.inputs[number], int) and variable.aval.shape == shape:
            yield number


def _passing(number: int) -> Edit:
    def edit(values: dict[int, Any], step: Step) -> list[Any]:
        operands = [read(values, atom) for atom in step.inputs]
        shape = step.equation.outvars[0].aval.shape
        fits = jnp.shape(operands[number]) == shape
        passed = operands[number] if fits else operands[1 - number]
        return [jnp.asarray(passed, step.equation.outvars[0].aval.dtype)]

    return edit


def _describe(steps: Sequence[Step], values: dict[int, Any]) -> str:
    """The clip, its limits, and how many elements it changes."""
    limits: list[str] = []
    changed: Any = False
    for step in steps:
        name = step.equation.primitive.name
        (result,) = (values[number] for number in step.outputs)
        operands = [np.asarray(read(values, atom)) for atom in step.inputs]
        passed = operands[next(_choices(step))]
        changed = changed | (np.asarray(result) != passed)
        if name in _LIMITS:
            other = operands[1 - next(_choices(step))]
            if other.size == 1:
                limits.append(f"{_LIMITS[name]} {float(other.ravel()[0]):.4g}")
        elif name == "clamp":
            limits += [f"at least {operands[0]:.4g}", f"at most {operands[2]:.4g}"]
    kind = "where" if steps[0].equation.primitive.name == "select_n" else "clip"
    count = f"{int(np.sum(changed)):,} of {np.size(changed):,} elements changed"
    return f"the {kind}{place(steps[0])} ({', '.join([*limits, count])})"
