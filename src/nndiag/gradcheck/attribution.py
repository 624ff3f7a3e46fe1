"""What a wrong gradient is instead of the derivative: one cause, and leaf by leaf."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nndiag.gradcheck.explaining import explain
from nndiag.gradcheck.given import Given
from nndiag.gradcheck.point import Vector
from nndiag.gradcheck.program import Program
from nndiag.records import LeafCheck, WrongCause

_ROUNDING = 1e-7


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
        point.gradients(given.values.vector),
        point.gradients(expected),
        point.unflattened(point.vector, np),
        paths=[leaf.path for leaf in point.checked],
        rounding=max(_ROUNDING, 64 * given.values.eps),
        fn=program.function,
        gradient=gradient,
        args=point.args,
        kwargs=point.kwargs,
    )
    for leaf, text in zip(point.checked, cause.leaves, strict=True):
        if leaf.path in wrong and (words := text or cause.text):
            before = found[leaf.path]
            found[leaf.path] = dataclasses.replace(before, explanation=words)
    if not given.is_callers or not cause.cause:
        return found, None
    return found, WrongCause(text=cause.text, file=cause.file, line=cause.line)
