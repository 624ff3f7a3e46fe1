"""What a wrong gradient is instead of the derivative: one cause, and leaf by leaf."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from nndiag.gradcheck.explaining import explain
from nndiag.gradcheck.given import Given
from nndiag.gradcheck.point import Vector
from nndiag.gradcheck.program import Program
from nndiag.jaxprs import widening
from nndiag.records import LeafCheck, WrongCause

_ROUNDING = 1e-7


def _off_kinks(
    leaves: Mapping[str, LeafCheck], given: Given, expected: Vector
) -> Vector:
    """The gradient, right by convention where there is no derivative."""
    vector = given.values.vector.copy()
    for leaf in given.point.checked:
        for index in leaves[leaf.path].kinks:
            entry = leaf.start + int(np.ravel_multi_index(index, leaf.shape or (1,)))
            vector[entry] = expected[entry]
    return vector


def _without_rules(program: Program) -> Callable[..., Any]:
    """The function as if it had no custom rules: else others are blamed for theirs."""

    @functools.wraps(program.function)
    def bare(*args: Any, **kwargs: Any) -> Any:
        leaves = jax.tree.leaves((args, kwargs))
        checked = [leaves[leaf.position] for leaf in program.point.checked]
        return widening.evaluate(program.jaxpr, checked)[0]

    return bare


def attribute(
    leaves: Mapping[str, LeafCheck],
    expected: Vector | None,
    given: Given,
    program: Program,
    gradient: Callable[..., Any] | None,
) -> tuple[dict[str, LeafCheck], WrongCause | None]:
    """Tells of wrong leaves what their gradient is.

    Args:
        leaves: the checked leaves by path, in order.
        expected: the derivative, `None` where it is not known of all elements.
        given: the gradient.
        program: the function.
        gradient: the caller's function that returned the gradient, if it was one.

    Returns:
        The leaves, the wrong ones with an explanation, and what explains all of them.
    """
    found = dict(leaves)
    wrong = [path for path, leaf in leaves.items() if leaf.verdict == "wrong"]
    if not wrong or expected is None:
        return found, None
    point = program.point
    cause = explain(
        point.gradients(_off_kinks(leaves, given, expected)),
        point.gradients(expected),
        point.unflattened(point.vector, np),
        paths=[leaf.path for leaf in point.checked],
        rounding=max(_ROUNDING, 64 * given.values.eps),
        fn=program.function if given.is_callers else _without_rules(program),
        gradient=gradient,
        args=point.args,
        kwargs=point.kwargs,
    )
    for leaf, text in zip(point.checked, cause.leaves, strict=True):
        if leaf.path not in wrong:
            continue
        before = found[leaf.path]
        part = expected[leaf.start : leaf.stop]
        apart = np.linalg.norm(given.values.vector[leaf.start : leaf.stop] - part)
        share = apart / max(float(np.linalg.norm(part)), 1e-300)
        words = (
            text
            or cause.text
            or before.explanation
            or f"off by {share:.1g} of its norm"
        )
        found[leaf.path] = dataclasses.replace(before, explanation=words)
    if not given.is_callers or not cause.cause:
        return found, None
    return found, WrongCause(text=cause.text, file=cause.file, line=cause.line)
