"""The verdict on one leaf."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from nndiag.gradcheck.examining import Comparison, Examiner
from nndiag.gradcheck.kinks import CUTS, find_ties
from nndiag.gradcheck.locating import locate
from nndiag.gradcheck.point import Leaf, Vector
from nndiag.gradcheck.recording import Evidence, record
from nndiag.records import LeafCheck
from nndiag.records.gradcheck import Correctness

_MOST = 16
_SHIFTS = 2
_HUGE = 200_000
"""Entries of a leaf from which on fewer coordinates are looked at, to save time."""

_FEW = 256
"""Entries of a leaf up to which each is taken by differences if need be."""

_AGREE = 1e-9
_KINK = "the function has a kink here: its slopes to the two sides differ"
_EXCEPTION = (
    "at points nearby the gradient is right: this one is an exception, such as a tie "
    "in a maximum or a comparison"
)


class Judge:
    """Decides leaf by leaf whether the gradient is the derivative.

    Args:
        examiner: at the point.
        autodiff: the derivative by autodiff in float64 without custom rules, or `None`;
            a hint where to look, and no evidence against the gradient.
        at_once: whether to look at the hint before anything is seen to be wrong.
        cuts: for each leaf, what stops its gradient on purpose.
        random: where random signs come from.
    """

    def __init__(
        self,
        examiner: Examiner,
        autodiff: Callable[[], Vector | None],
        cuts: list[frozenset[str]],
        random: np.random.Generator,
        *,
        at_once: bool,
    ) -> None:
        self._examiner, self._hinted, self._at_once = examiner, autodiff, at_once
        self._cuts, self._random = cuts, random
        self._elsewhere: list[Examiner] = []
        self._known = np.full_like(examiner.vector, np.nan)

    @functools.cached_property
    def _autodiff(self) -> Vector | None:
        return self._hinted()

    @functools.cached_property
    def _tied(self) -> tuple[int, Vector | None]:
        """Number of ties at the point, and how much each entry moves them apart."""
        return find_ties(self._examiner.program, self._examiner.vector)

    def judge(self, number: int, leaf: Leaf) -> LeafCheck:
        """The verdict on the leaf of this number."""
        evidence = Evidence()
        for direction in self._directions(leaf):
            compared = self._examiner.compare(leaf, direction)
            evidence.whole.append((direction, compared))
        clear = all(c.is_decided and not c.is_wrong for _, c in evidence.whole)
        suspects = self._suspects(leaf) if self._at_once or not clear else []
        if suspects and leaf.size > 1:
            direction = self._residual(leaf)
            compared = self._examiner.compare(leaf, direction)
            evidence.whole.append((direction, compared))
        if self._tied[0] or any(c.bends for _, c in evidence.whole):
            self._find_kinks(leaf, evidence)
        most = _MOST if leaf.size < _HUGE else 4
        for entry in suspects[:most]:
            evidence.single.setdefault(entry, self._examiner.entry(leaf, entry))
        evidence.kinks += [
            n for n, c in evidence.single.items() if c.bends and n not in evidence.kinks
        ]
        mismatch = next((p for p in evidence.whole if p[1].is_wrong), None)
        if mismatch is not None and not evidence.wrong:
            direction, compared = mismatch
            evidence.single.update(
                locate(self._examiner, leaf, compared, direction, most=most)
            )
        self._know(leaf, evidence)
        return self._conclude(number, leaf, evidence, mismatch)

    def expected(self) -> Vector | None:
        """The derivative as a vector, where it is known of all elements.

        By autodiff in float64 where differences bore that out; element by element by
        differences where there are few.
        """
        return None if np.isnan(self._known).any() else self._known

    def _know(self, leaf: Leaf, evidence: Evidence) -> None:
        part = slice(leaf.start, leaf.stop)
        hint = self._trusted(leaf, evidence)
        if hint is not None:
            self._known[part] = hint
        elif not evidence.wrong and all(c.is_decided for _, c in evidence.whole):
            self._known[part] = self._examiner.gradient[part]
        elif leaf.size <= _FEW:
            for entry in range(leaf.size):
                compared = evidence.single.get(entry)
                compared = compared or self._examiner.entry(leaf, entry)
                self._known[leaf.start + entry] = compared.slope.value

    def _suspects(self, leaf: Leaf) -> list[int]:
        """Entries where autodiff in float64 says otherwise, worst first."""
        if self._autodiff is None:
            return []
        part = slice(leaf.start, leaf.stop)
        given, hint = self._examiner.gradient[part], self._autodiff[part]
        if not np.isfinite(hint).all():
            return []
        apart = np.abs(given - hint)
        largest = max(float(np.abs(hint).max()), float(np.abs(given).max()))
        room = np.full_like(apart, _AGREE * largest)
        if not (apart > room).any():
            return []
        room += 16 * np.abs(self._examiner.blurs[:, part]).max(0)
        order = np.argsort(-apart, kind="stable")
        return [int(n) for n in order[: 4 * _MOST] if apart[n] > room[n]]

    def _residual(self, leaf: Leaf) -> Vector:
        """The signs of what autodiff and the gradient differ by."""
        assert self._autodiff is not None
        part = slice(leaf.start, leaf.stop)
        direction = np.zeros_like(self._examiner.vector)
        direction[part] = np.sign(self._examiner.gradient[part] - self._autodiff[part])
        return direction

    def _directions(self, leaf: Leaf) -> list[Vector]:
        size, part = leaf.size, slice(leaf.start, leaf.stop)
        patterns = [self._random.choice([-1.0, 1.0], size) for _ in range(2)]
        if size == 1:
            patterns = [np.ones(1)]
        else:
            signs = np.sign(self._examiner.gradient[part])
            patterns.append(np.where(signs == 0, 1.0, signs))
        directions = []
        for pattern in patterns:
            direction = np.zeros_like(self._examiner.vector)
            direction[part] = pattern
            directions.append(direction)
        return directions

    def _find_kinks(self, leaf: Leaf, evidence: Evidence) -> None:
        """Looks for entries on kinks, and compares again without them."""
        part = slice(leaf.start, leaf.stop)
        moved = self._tied[1]
        candidates = (
            np.arange(leaf.size)
            if moved is None
            else np.flatnonzero((moved[part] != 0) | np.isnan(moved[part]))
        )
        for entry in candidates[:_MOST]:
            compared = self._examiner.entry(leaf, int(entry))
            evidence.single[int(entry)] = compared
            if compared.bends:
                evidence.kinks.append(int(entry))
        if not evidence.kinks:
            return
        evidence.masked = len(candidates)
        again = []
        for direction, _ in evidence.whole:
            clear = direction.copy()
            clear[leaf.start + candidates] = 0.0
            if clear.any():
                again.append((clear, self._examiner.compare(leaf, clear)))
        evidence.whole = again

    def _holds_elsewhere(self, leaf: Leaf, direction: Vector) -> bool:
        """Whether the gradient is right at nearby points, off every kink."""
        if not self._elsewhere:
            self._elsewhere = [self._examiner.elsewhere(n) for n in range(_SHIFTS)]
        found = [other.compare(leaf, direction) for other in self._elsewhere]
        return not any(compared.is_wrong for compared in found)

    def _conclude(
        self,
        number: int,
        leaf: Leaf,
        evidence: Evidence,
        mismatch: tuple[Vector, Comparison] | None,
    ) -> LeafCheck:
        wrong = evidence.wrong
        if wrong or mismatch is not None:
            direction = (
                self._examiner.unit(leaf, next(iter(wrong))) if wrong else mismatch[0]  # type: ignore[index]
            )
            words = self._excuse(number, leaf, direction)
            if words:
                return self._record(leaf, evidence, "undecided", words)
            return self._record(leaf, evidence, "wrong", "")
        if evidence.kinks or any(c.bends for _, c in evidence.whole):
            return self._record(leaf, evidence, "undecided", _KINK)
        compared = [c for _, c in evidence.whole]
        if all(c.is_decided for c in compared):
            return self._record(leaf, evidence, "right", "")
        blurred = [c for c in compared if not c.is_decided]
        # A gradient by JAX without rules would only be compared with itself.
        if (
            self._at_once
            and not self._cuts[number]
            and self._agrees_with_autodiff(leaf)
        ):
            return self._record(leaf, evidence, "right", "")
        bound = max(c.bound for c in blurred)
        words = f"the derivative is known to ±{bound:.2g} only, too little to decide"
        return self._record(leaf, evidence, "undecided", words)

    def _excuse(self, number: int, leaf: Leaf, direction: Vector) -> str:
        """Why a difference is no fault of the gradient, `""` if it is one."""
        if self._holds_elsewhere(leaf, direction):
            return _EXCEPTION
        if self._cuts[number] and self._agrees_with_autodiff(leaf):
            return "; ".join(CUTS[name] for name in sorted(self._cuts[number]))
        return ""

    def _agrees_with_autodiff(self, leaf: Leaf) -> bool:
        return self._autodiff is not None and not self._suspects(leaf)

    def _trusted(self, leaf: Leaf, evidence: Evidence) -> Vector | None:
        """Autodiff's derivative by a leaf, if the differences bear it out."""
        if (
            not (self._at_once or "_autodiff" in self.__dict__)
            or self._autodiff is None
        ):
            return None
        part = slice(leaf.start, leaf.stop)
        hint = self._autodiff[part]
        if not np.isfinite(hint).all():
            return None
        agree = all(
            abs(float(direction[part] @ hint) - c.slope.value) <= 2 * c.bound
            for direction, c in evidence.whole
        )
        return hint if agree and evidence.whole else None

    def _record(
        self, leaf: Leaf, evidence: Evidence, verdict: Correctness, words: str
    ) -> LeafCheck:
        trusted = self._trusted(leaf, evidence)
        return record(self._examiner, leaf, evidence, verdict, words, trusted)
