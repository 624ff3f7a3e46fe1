"""What was seen of one leaf, and the record that is kept of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from nndiag.gradcheck.examining import Comparison, Examiner
from nndiag.gradcheck.point import Leaf, Vector
from nndiag.records import Coordinate, LeafCheck
from nndiag.records.gradcheck import Correctness, Method

_MOST = 16


@dataclass
class Evidence:
    """What was seen of one leaf.

    Attributes:
        whole: comparisons along directions over the whole leaf.
        single: comparisons along single entries.
        kinks: entries at which the slopes to both sides differ.
        masked: entries left out of `whole` as they lie on kinks.
    """

    whole: list[tuple[Vector, Comparison]] = field(default_factory=list)
    single: dict[int, Comparison] = field(default_factory=dict)
    kinks: list[int] = field(default_factory=list)
    masked: int = 0

    @property
    def wrong(self) -> dict[int, Comparison]:
        """Entries found wrong, worst first."""
        rows = [(n, c) for n, c in self.single.items() if c.is_wrong]
        rows.sort(key=lambda row: -abs(row[1].error))
        return dict(rows)

    @property
    def method(self) -> Method:
        """How all slopes were measured."""
        compared = [*(c for _, c in self.whole), *self.single.values()]
        sharp = bool(compared) and all(c.slope.sharpened for c in compared)
        return "complex step" if sharp else "differences"


def record(
    examiner: Examiner,
    leaf: Leaf,
    evidence: Evidence,
    verdict: Correctness,
    words: str,
    trusted: Vector | None,
) -> LeafCheck:
    """What is kept of a leaf.

    Args:
        examiner: that compared.
        leaf: the leaf.
        evidence: what was seen.
        verdict: on the leaf.
        words: why.
        trusted: the derivative by autodiff, where differences bore it out.
    """
    part = slice(leaf.start, leaf.stop)
    given = examiner.given.own[part]
    single = evidence.single
    looked = evidence.wrong or single
    worst = max(looked, key=lambda n: abs(single[n].error), default=None)
    if worst is not None:
        largest, bound = abs(single[worst].error), single[worst].bound
    else:
        compared = [(abs(c.error), c.bound) for _, c in evidence.whole]
        largest, bound = max(compared, default=(0.0, math.inf))
    if verdict == "right":
        bound = max((c.bound for _, c in evidence.whole), default=bound)
    return LeafCheck(
        path=leaf.path,
        shape=leaf.shape,
        dtype=leaf.dtype,
        verdict=verdict,
        norm=float(np.linalg.norm(given)),
        largest_error=float(largest),
        error_bound=float(bound),
        worst_index=None if worst is None else leaf.index(worst),
        explanation=words,
        wrong=tuple(
            Coordinate(
                index=leaf.index(n),
                given=c.given,
                expected=c.slope.value,
                bound=c.bound,
            )
            for n, c in list(evidence.wrong.items())[:_MOST]
        )
        if verdict == "wrong"
        else (),
        kinks=tuple(leaf.index(n) for n in evidence.kinks[:_MOST]),
        errors=_errors(examiner, leaf, evidence, trusted),
        method=evidence.method,
    )


def _errors(
    examiner: Examiner, leaf: Leaf, evidence: Evidence, trusted: Vector | None
) -> Vector | None:
    """Relative error of each element, as far as it is known."""
    part = slice(leaf.start, leaf.stop)
    given = examiner.gradient[part]
    errors = np.full(leaf.size, np.nan)
    if trusted is not None:
        size = np.maximum(np.abs(trusted), _floor(trusted))
        errors = np.abs(given - trusted) / size
    for entry, compared in evidence.single.items():
        size = max(abs(compared.slope.value), compared.bound, 1e-300)
        errors[entry] = abs(compared.error) / size
    if leaf.is_complex:
        errors = errors.reshape(2, -1).max(0)
    return None if np.isnan(errors).all() else errors.reshape(leaf.shape)


def _floor(values: Vector) -> float:
    return max(1e-6 * float(np.abs(values).max(initial=0.0)), 1e-300)
