"""Gradients that lose digits on their way back."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from nndiag.gradcheck.given import Given
from nndiag.gradcheck.program import Program
from nndiag.records import LeafCheck

_FEWEST_ELEMENTS = 4


def few_digits(given: Any, expected: Any) -> str:
    """The dtype of few digits that a derivative was rounded to, `""` for none.

    Args:
        given: a gradient, in float64.
        expected: the derivative.

    >>> few_digits(np.array([0.5, 0.25, 3, 1.0]), np.array([0.501, 0.25, 3.01, 1.0]))
    'bfloat16'
    >>> few_digits(np.array([0.5, 0.25, 3, 1.0]), np.array([0.5, 0.25, 3, 1.0 + 1e-7]))
    ''
    """
    if np.iscomplexobj(given) or given.size < _FEWEST_ELEMENTS:
        return ""
    for dtype, eps in (("bfloat16", 2.0**-8), ("float16", 2.0**-11)):
        with np.errstate(over="ignore"):
            rounded = given.astype(jnp.dtype(dtype)).astype(given.dtype)
        error, size = np.abs(given - expected), np.abs(expected)
        lost = np.mean(error > eps / 64 * size) >= 0.5
        if lost and (rounded == given).all() and (error <= eps * size).all():
            return dtype
    return ""


def with_lost_digits(check: LeafCheck, program: Program, given: Given) -> LeafCheck:
    """The check of a leaf, wrong if the way back rounds what the function does not.

    In float64, where gradients are compared, a cast to bfloat16 and back is lost.
    """
    leaf = next(leaf for leaf in program.point.checked if leaf.path == check.path)
    part = slice(leaf.start, leaf.stop)
    own, exact = given.own[part], given.values.vector[part]
    if check.verdict != "right" or given.is_callers or not program.has_rules:
        return check
    error = np.abs(own - exact)
    dtype = few_digits(own, exact)
    narrow = dtype and program.point.eps(leaf) < float(jnp.finfo(dtype).eps)
    if not narrow or not error.any() or dtype in program.dtypes:
        return check
    worst = int(np.argmax(error))
    return dataclasses.replace(
        check,
        verdict="wrong",
        largest_error=float(error[worst]),
        worst_index=tuple(map(int, np.unravel_index(worst, leaf.shape))),
        explanation=f"the derivative rounded to {dtype} precision, by a custom rule",
    )
