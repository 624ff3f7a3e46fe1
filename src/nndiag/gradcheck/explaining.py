"""Which single cause makes a hand-written gradient differ from the derivative."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from nndiag.gradcheck.blaming import Blame, Subject, joined
from nndiag.gradcheck.clipping import CLIP, blame_clip
from nndiag.gradcheck.comparing import WEAK, Relation, distance, relate
from nndiag.gradcheck.naming import name_factor
from nndiag.gradcheck.paths import blame_path
from nndiag.gradcheck.slips import blame_slip
from nndiag.gradcheck.tracing import wide
from nndiag.jaxprs.arguments import named_leaves

_ROUNDING = {"float64": 1e-9, "float32": 2e-5}
_COARSE = 0.03


class Explanation(NamedTuple):
    """Why a gradient differs from the derivative.

    Attributes:
        cause: one word for what is wrong: those of `Relation`, or ``"sign"``,
            ``"update"``, ``"swapped"``, ``"clipped inside"``,
            ``"missing activation derivative"``; ``""`` if no single cause explains it.
        text: in a sentence.
        leaves: for each leaf, what its gradient is; ``""`` where it is the derivative.
        residual: ‖given − explained‖ / ‖given‖, the part left unexplained.
        file: of the guilty line, ``""`` if none is known.
        line: the guilty line, 0 if none is known.
    """

    cause: str
    text: str
    leaves: tuple[str, ...]
    residual: float
    file: str = ""
    line: int = 0


def explain(
    given: Sequence[Any],
    expected: Sequence[Any],
    parameters: Sequence[Any],
    *,
    paths: Sequence[str],
    rounding: float | None = None,
    fn: Callable[..., Any] | None = None,
    gradient: Callable[..., Any] | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Explanation:
    """Looks for the one cause that explains a wrong gradient to rounding.

    Args:
        given: the gradient, leaf by leaf.
        expected: the derivative, in the same order.
        parameters: the leaves that it is taken by.
        paths: of the leaves, by parameter name.
        rounding: largest relative difference that rounding can make; by default that
            of the coarsest dtype in `given`.
        fn: the function, to look for a missing activation derivative.
        gradient: the function that returned `given`, to look for a clip inside it.
        args: the arguments of both.
        kwargs: further arguments.

    Returns:
        The explanation; a gradient that is right has the cause ``""`` and no text.

    >>> import numpy as np
    >>> g = np.array([1.0, -2.0, 3.0])
    >>> x = np.ones((128, 3))
    >>> found = explain(
    ...     [128 * g], [g], [g], paths=["w"], fn=lambda w, x: 0, args=(g, x)
    ... )
    >>> print(found.text.partition(": ")[0])
    your gradient of w is 128 times the derivative
    >>> print(found.text.partition(": ")[2])
    x has 128 rows, so a sum over them stands where the function takes the mean
    """
    arrays = [np.asarray(leaf) for leaf in given]
    if rounding is None:
        rounding = max((_rounding(leaf) for leaf in arrays), default=0.0)
    named = named_leaves(fn, args, kwargs or {}) if fn else []
    case = _Case(
        given=[_widest(leaf) for leaf in arrays],
        expected=[_widest(np.asarray(leaf)) for leaf in expected],
        parameters=[_widest(np.asarray(leaf)) for leaf in parameters],
        paths=paths,
        rounding=rounding,
        counts={
            name: np.shape(value)
            for name, value in named
            if name not in paths and np.ndim(value)
        },
    )
    if not case.wrong:
        return Explanation("", "", ("",) * len(arrays), 0.0)
    found = case.relations
    return (
        _whole(case)
        or _swapped(case)
        or (_listed(case) if _have_one_cause(case) else None)
        or _inside(case, fn, gradient, args, dict(kwargs or {}))
        or (_listed(case) if len(found) == len(case.wrong) else _unexplained(case))
    )


@dataclass(frozen=True, kw_only=True)
class _Case:
    """Both gradients, in float64, and what they are by."""

    given: Sequence[Any]
    expected: Sequence[Any]
    parameters: Sequence[Any]
    paths: Sequence[str]
    rounding: float
    counts: Mapping[str, tuple[int, ...]]

    @functools.cached_property
    def wrong(self) -> list[int]:
        """Leaves that are not the derivative."""
        pairs = zip(self.given, self.expected, strict=True)
        return [
            i
            for i, (given, expected) in enumerate(pairs)
            if given.shape != expected.shape
            or distance(given, expected) > self.rounding
        ]

    @functools.cached_property
    def relations(self) -> dict[int, Relation]:
        """What each wrong leaf is of its derivative, where that is known."""
        found: dict[int, Relation] = {}
        for i in self.wrong:
            triple = self.given[i], self.expected[i], self.parameters[i]
            relation = relate(*triple, rounding=self.rounding)
            if relation is not None:
                found[i] = self.named(relation, triple[0], triple[1])
        return found

    def named(self, relation: Relation, given: Any, expected: Any) -> Relation:
        """The relation, with the source of a factor."""
        if relation.cause != "factor":
            return relation
        norms = float(np.linalg.norm(given)), float(np.linalg.norm(expected))
        cause, words = name_factor(relation, self.counts, self.rounding, norms)
        return relation._replace(cause=cause, words=words)

    def each(self, words: Callable[[int], str]) -> tuple[str, ...]:
        """Words for each wrong leaf, none for the others."""
        count = len(self.given)
        return tuple(words(i) if i in self.wrong else "" for i in range(count))


def _whole(case: _Case) -> Explanation | None:
    """One cause for all leaves together."""
    pairs = zip(case.given, case.expected, strict=True)
    if len(case.wrong) < 2 or any(g.shape != e.shape for g, e in pairs):
        return None
    given, expected, parameters = (
        np.concatenate([leaf.ravel() for leaf in leaves])
        for leaves in (case.given, case.expected, case.parameters)
    )
    relation = relate(given, expected, parameters, rounding=case.rounding, whole=True)
    if relation is None:
        return None
    cause, words, residual, _ = case.named(relation, given, expected)
    leaves = case.each(lambda i: words)
    return Explanation(cause, f"your gradient is {words}", leaves, residual)


def _swapped(case: _Case) -> Explanation | None:
    """Each wrong leaf has the derivative of another one."""
    sources: dict[int, int] = {}
    worst = 0.0
    for i, j in itertools.permutations(case.wrong, 2):
        if case.given[i].shape != case.expected[j].shape:
            continue
        residual = distance(case.given[i], case.expected[j])
        if residual <= case.rounding:
            sources[i], worst = j, max(worst, residual)
    if len(sources) != len(case.wrong):
        return None
    leaves = case.each(
        lambda i: f"the derivative with respect to {case.paths[sources[i]]}"
    )
    names = " and ".join(case.paths[i] for i in case.wrong)
    return Explanation(
        "swapped", f"the gradients of {names} are swapped", leaves, worst
    )


def _have_one_cause(case: _Case) -> bool:
    causes = {relation.cause for relation in case.relations.values()}
    known = len(case.relations) == len(case.wrong)
    return known and len(causes) == 1 and not causes & WEAK


def _listed(case: _Case) -> Explanation:
    """The cause of each wrong leaf, all of them known."""
    found = case.relations
    causes = {relation.cause for relation in found.values()}
    return Explanation(
        causes.pop() if len(causes) == 1 else "",
        "; ".join(_sentence(case, i, found[i].words) for i in found),
        case.each(lambda i: found[i].words),
        max(relation.residual for relation in found.values()),
    )


def _sentence(case: _Case, leaf: int, words: str) -> str:
    return f"your gradient of {case.paths[leaf]} is {words}"


def _inside(
    case: _Case,
    fn: Callable[..., Any] | None,
    gradient: Callable[..., Any] | None,
    args: Sequence[Any],
    kwargs: dict[str, Any],
) -> Explanation | None:
    """A line within the gradient, or one that it forgot."""
    given, expected, rounding = case.given, case.expected, case.rounding
    if any(g.shape != e.shape for g, e in zip(given, expected, strict=True)):
        return None
    blame: Blame | None = None
    with wide():
        if gradient is not None:
            blame = blame_clip(gradient, args, kwargs, given, expected, rounding)
        if blame is None and fn is not None:
            subject = Subject(fn, args, kwargs, case.paths)
            both = joined(given), joined(expected)
            blame = blame_path(subject, *both, rounding) or blame_slip(
                subject, *both, rounding
            )
    if blame is None:
        return None
    found = blame
    return Explanation(
        found.cause,
        f"your gradient is {_told(found, found.bend)}",
        case.each(lambda i: _told(found, distance(expected[i], given[i]))),
        found.residual,
        found.file,
        found.line,
    )


def _told(blame: Blame, bend: float) -> str:
    if blame.cause != CLIP:
        return blame.words
    return f"bent by {bend:.0%} in norm by {blame.words}"


def _unexplained(case: _Case) -> Explanation:
    """What can be said of the leaves, and where the difference is largest."""
    found = case.relations
    leaves = case.each(lambda i: found[i].words if i in found else _worst(case, i))
    text = "; ".join(_sentence(case, i, leaves[i]) for i in case.wrong)
    unknown = [i for i in case.wrong if i not in found]
    residual = max(
        distance(case.given[i], case.expected[i])
        if case.given[i].shape == case.expected[i].shape
        else 1.0
        for i in unknown
    )
    return Explanation("", text, leaves, residual)


def _worst(case: _Case, leaf: int) -> str:
    given, expected = case.given[leaf], case.expected[leaf]
    if given.shape != expected.shape:
        return f"of shape {given.shape}, not {expected.shape}"
    error = np.abs(given - expected)
    index = tuple(map(int, np.unravel_index(np.argmax(error), error.shape)))
    at = f" at {list(index)}" if index else ""
    return (
        f"not explained by a single cause; the largest difference is{at}: "
        f"{given[index]:.6g}, not {expected[index]:.6g}"
    )


def _rounding(leaf: Any) -> float:
    real = str(np.zeros(0, leaf.dtype).real.dtype)
    return _ROUNDING.get(real, _COARSE if leaf.dtype.kind in "fcV" else 1e-9)


def _widest(leaf: Any) -> Any:
    return leaf.astype(np.complex128 if leaf.dtype.kind == "c" else np.float64)
