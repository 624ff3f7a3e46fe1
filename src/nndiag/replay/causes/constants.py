"""Numbers that the user wrote, and what became of them: NaN, Inf, or 0 in float16."""

from __future__ import annotations

import ast
import copy
import re

import numpy as np

from nndiag.replay.causes.cause import Cause
from nndiag.replay.causes.evidence import Evidence, is_inexact, largest, number
from nndiag.replay.rewriting import Code

_NUMBER = re.compile(r"(?<![\w.])(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])")
_EPSILON = 1e-4
"""A number that float16 keeps apart from 0, and its square root from overflow."""


def find(evidence: Evidence) -> Cause | None:
    """The cause, if a NaN came in that stands in the program itself."""
    if evidence.birth.kind != "nan" or not any(map(np.isnan, _given(evidence))):
        return None
    written = re.search(r"\bnan\b", _code(evidence), re.IGNORECASE)
    where = (
        "stands in the program on this line"
        if written
        else ("is a constant of the program that is used here")
    )
    return Cause(
        f"NaN {where}; nothing was computed to make it",
        advice="write a finite number in its place, or keep what it marks out of the "
        "output",
    )


def _given(evidence: Evidence) -> list[complex]:
    """The operands at the first bad element; where they have none, all they hold."""
    found: list[complex] = []
    for index, operand in enumerate(evidence.operands):
        if not is_inexact(operand):
            continue
        value = evidence.element_of(index)
        found += operand.ravel().tolist() if value is None else [complex(value)]
    return found


def overflowed(evidence: Evidence) -> str:
    """How an Inf of the program may stand for a finite number, `""` if it does not."""
    limit, source = largest(evidence.dtype), _code(evidence)
    if re.search(r"\binf\b", source, re.IGNORECASE):
        return ""
    beyond = [text for text in _NUMBER.findall(source) if float(text) > limit]
    if beyond:
        return (
            f"{beyond[0]}, written on this line, overflows {evidence.dtype}, whose "
            f"largest number is {number(limit)}"
        )
    if evidence.dtype != "float16":
        return ""
    return (
        "the Inf is a constant of the program, and every number beyond "
        f"{number(limit)} becomes one in float16"
    )


def vanished(evidence: Evidence, index: int, text: str) -> Cause | None:
    """The cause, if what was added to operand `index` is 0 in float16.

    Args:
        evidence: an equation that failed as that operand is 0.
        index: of the operand.
        text: how it failed.
    """
    made = evidence.source(index)
    if made is None or made.name != "add" or evidence.dtype != "float16":
        return None
    if not any(map(_is_zero, made.equation.invars)):
        return None
    small = filter(
        lambda text: _vanishes(float(text)), _NUMBER.findall(_code(evidence))
    )
    what = next(small, "the small number added")
    return Cause(
        f"{text}: {what} rounds to 0 in float16, whose smallest number is 6e-08, so "
        "it keeps nothing away from 0",
        changes=(_larger_epsilon,),
        advice=f"add {_EPSILON} or more, or compute this in float32",
    )


def _code(evidence: Evidence) -> str:
    """The line, without a comment."""
    return evidence.birth.source.partition("#")[0]


def _is_zero(atom: object) -> bool:
    value = getattr(atom, "val", None)
    return value is not None and bool(np.all(np.asarray(value) == 0))


def _vanishes(value: float) -> bool:
    return value != 0 and float(np.float16(value)) == 0


def _larger_epsilon(node: ast.expr, code: Code) -> str | None:
    """The same with numbers that float16 keeps apart from 0."""
    del code
    changed = copy.deepcopy(node)
    for part in ast.walk(changed):
        value = part.value if isinstance(part, ast.Constant) else None
        if isinstance(value, float) and _vanishes(value):
            part.value = _EPSILON  # type: ignore[attr-defined]
    return None if ast.dump(changed) == ast.dump(node) else ast.unparse(changed)
