"""Why an equation made a NaN or Inf, in words, and what to write instead."""

from __future__ import annotations

from pathlib import Path

from nndiag.jaxprs.primitives import ELEMENTWISE
from nndiag.replay.birth import Birth
from nndiag.replay.causes import (
    changes,
    constants,
    domain,
    indeterminate,
    masking,
    matrices,
    overflow,
    poles,
)
from nndiag.replay.causes.cause import Cause, Place
from nndiag.replay.causes.evidence import Evidence, is_inexact
from nndiag.replay.rewriting import Change, rewrite

_FINDERS = (
    constants.find,
    masking.find,
    poles.find,
    overflow.find,
    domain.find,
    matrices.find,
    indeterminate.find,
)


def explain(birth: Birth, *, reaches_output: bool) -> tuple[str, str]:
    """The cause of a birth, and how to write the line.

    Args:
        birth: the equation that made a NaN or Inf, with its values.
        reaches_output: whether a NaN or Inf that comes from it is in the output.

    Returns:
        The cause, a sentence or two with the numbers of the first offending element;
        and the user's own statement rewritten, or, where no rewrite is known for it,
        a line of advice (`""` if there is none).
    """
    evidence = Evidence(birth)
    cause = next(filter(None, (find(evidence) for find in _FINDERS)), None)
    cause = cause or _unknown(evidence)
    if evidence.is_complex:
        cause = _without_order(cause)
    text = f"{cause.text}."
    if not reaches_output:
        text += (
            " No NaN or Inf reaches the output: what comes out is finite, "
            "and may be wrong."
        )
    return text, _rewrite(birth, cause) or cause.advice


def _rewrite(birth: Birth, cause: Cause) -> str:
    """The user's statement, rewritten; that of the origin if only it can be."""
    places = list(map(_place, filter(None, (birth, birth.origin))))
    for place in places:
        for change in cause.patterns:
            if found := _at(place, change, birth, around=True):
                return found
    place = cause.place or places[-1 if cause.elsewhere else 0]
    for change in cause.changes:
        if found := _at(place, change, birth):
            return found
    return ""


def _place(birth: Birth) -> Place:
    return Place(birth.location.file, birth.location.line, birth.column)


def _at(place: Place, change: Change, birth: Birth, *, around: bool = False) -> str:
    """The rewrite of one line; where it is another than the birth's, that is said."""
    found = rewrite(*place, change, around=around)
    if not found or place[:2] == _place(birth)[:2]:
        return found
    return f"# line {place.line} of {Path(place.file).name}\n{found}"


def _without_order(cause: Cause) -> Cause:
    """A cause for complex numbers, which have no maximum and no bounds."""
    bounds = ("maximum", "above", "clip", "positive")
    advice = cause.advice
    if any(word in advice for word in bounds):
        advice = (
            "look at why the numbers are this large"
            if "subtract" in advice
            else "replace a 0 before this line: jnp.where(z == 0, 1.0, z)"
        )
    kept = tuple(c for c in cause.changes if c is changes.safe_divisor)
    return cause._replace(patterns=(), changes=kept, advice=advice)


def _unknown(evidence: Evidence) -> Cause:
    """A true sentence for an equation that no file of this package knows."""
    made = "NaN" if evidence.birth.kind == "nan" else "Inf"
    known = [
        evidence.written(index)
        for index, operand in enumerate(evidence.operands)
        if is_inexact(operand)
    ]
    text = (
        f"{evidence.primitive} put out {made} ({evidence.dtype}) for operands that "
        "held none"
    )
    if known and "NaN" not in known and evidence.primitive in ELEMENTWISE:
        text += f"; at the first offending element they were {', '.join(known)}"
    return Cause(text)
