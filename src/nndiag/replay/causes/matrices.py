"""Matrices without a factor or an inverse."""

from __future__ import annotations

import numpy as np

from nndiag.replay.causes.cause import Cause
from nndiag.replay.causes.evidence import Evidence, is_inexact

_SOLVERS = ("custom_linear_solve", "triangular_solve")


def find(evidence: Evidence) -> Cause | None:
    """The cause, if a matrix has no Cholesky factor or a linear system no solution."""
    if evidence.primitive == "cholesky" and evidence.birth.kind == "nan":
        return Cause(
            "the matrix is not positive definite, so it has no Cholesky factor",
            advice="add a small multiple of the identity, or check that the matrix is "
            "a covariance",
        )
    if evidence.primitive not in _SOLVERS:
        return None
    advice = (
        "add a small multiple of the identity, use jnp.linalg.lstsq or "
        "jnp.linalg.pinv, or look at why rows or columns depend on each other"
    )
    for operand in filter(is_inexact, evidence.operands):
        if _is_square(operand) and _has_zero_pivot(operand):
            return Cause(
                "the matrix is singular: a pivot of its factor is 0, and the solution "
                "divides by it",
                advice=advice,
            )
    return Cause(
        "the solution of this linear system is not finite: its matrix is singular, or "
        "nearly so",
        advice=advice,
    )


def _is_square(operand: np.ndarray) -> bool:
    return operand.ndim > 1 and operand.shape[-1] == operand.shape[-2] > 0


def _has_zero_pivot(operand: np.ndarray) -> bool:
    return bool((np.diagonal(operand, axis1=-2, axis2=-1) == 0).any())
