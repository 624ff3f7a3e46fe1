"""Divisors and arguments of log that are 0 as what made them has 0 for a lower bound.

A scale such as ``relu(x)`` or ``softplus(x)`` is used in more than one place, so the
line that makes it is the one to mend: there a small number keeps it above 0.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np

from nndiag.jaxprs import compat
from nndiag.jaxprs.location import locate
from nndiag.replay.causes import patterns
from nndiag.replay.causes.cause import Cause, Place
from nndiag.replay.causes.evidence import Evidence, Made
from nndiag.replay.causes.syntax import called, operand, split, text, without
from nndiag.replay.entering import wrapped
from nndiag.replay.rewriting import Change, Code

_CALLS: dict[str, tuple[str, ...]] = {
    "relu": ("relu",),
    "max": ("maximum", "max", "clip", "relu"),
    "clip": ("clip",),
    "softplus": ("softplus",),
    "log1p": ("log1p",),
    "log": ("log",),
    "exp": ("exp",),
    "exp2": ("exp2",),
    "logistic": ("sigmoid", "expit", "logistic"),
    "sqrt": ("sqrt",),
    "abs": ("abs", "absolute"),
    "square": ("square", "**"),
    "integer_pow": ("**", "power", "pow", "integer_pow"),
}
"""What is never below 0, as JAX calls it, and as it stands in source."""

SCALES = frozenset({"relu", "max", "clip", "softplus", "log1p", "log"})
"""Those of them that usually make a scale, and seldom a probability."""


def find(
    evidence: Evidence,
    index: int,
    cause: str,
    *,
    what: str = "the divisor",
    among: frozenset[str] | None = None,
) -> Cause | None:
    """The cause, if operand `index` is 0 as a function returned its lower bound.

    Args:
        evidence: an equation that failed as that operand is 0, or nearly so.
        index: of the operand.
        cause: how it failed.
        what: the operand is called.
        among: names of the functions that count, `None` for all.
    """
    made = next((m for m in evidence.upstream(index) if _has_floor(m, evidence)), None)
    if made is None or (among is not None and _name(made) not in among):
        return None
    location = locate(made.equation)
    file, column = compat.user_position(made.equation, location.file, location.line)
    if not file:
        return None
    name = _name(made)
    power = f"** {made.equation.params['y']}" if name == "integer_pow" else ""
    value = evidence.written(index)
    at = f"{Path(file).name}:{location.line}"
    where = "under the root" if name == "sqrt" else "to it"
    small = _small(name, evidence.dtype)
    return Cause(
        f"{cause}; {what} is {value} because {power or _CALLS[name][0]} at {at} "
        f"returned {value}",
        changes=(_raised(name, small),),
        advice=f"add a small number {where} at {at}, such as {small}, so that it is "
        "above 0 wherever it is used",
        place=Place(location.file, location.line, column),
    )


def _small(name: str, dtype: str) -> str:
    """What to add: the square of 1 / x is still far from overflow."""
    if name == "sqrt":
        return "0.0001" if dtype == "float16" else "1e-12"
    if dtype == "float16":
        return "0.01"
    return "0.001" if name in SCALES else "1e-06"


def _name(made: Made) -> str:
    """Its function; in `jax.nn` one with its own derivative wraps a jitted one."""
    body = wrapped(made.equation)
    inner = compat.open_jaxpr(body).eqns if body is not None else ()
    if made.name == "custom_jvp_call" and len(inner) == 1:
        return Made(inner[0], ()).name
    return made.name


def _has_floor(made: Made, evidence: Evidence) -> bool:
    """Whether an equation is never below 0, whatever goes in."""
    name = _name(made)
    if name in ("max", "clip"):
        return any(map(_is_zero, made.equation.invars))
    if name == "integer_pow":
        power = made.equation.params["y"]
        return power > 0 and power % 2 == 0
    if name == "log":
        below = evidence.make(made.equation.invars[0])
        return below is not None and _is_one_and_exp(below, evidence)
    return name in _CALLS


def _is_one_and_exp(made: Made, evidence: Evidence) -> bool:
    makers = [evidence.make(atom) for atom in made.equation.invars]
    return made.name == "add" and any(m is not None and m.name == "exp" for m in makers)


def _is_zero(atom: Any) -> bool:
    return compat.is_literal(atom) and not np.any(np.asarray(atom.val))


def _raised(name: str, small: str) -> Change:
    """A call of the function `name`, or a power, plus a small number."""

    def change(node: ast.expr, code: Code) -> str | None:
        if isinstance(node, ast.BinOp):
            power = isinstance(node.op, ast.Pow) and "**" in _CALLS[name]
            return _joined(text(node), node, code) if power else None
        if not called(node, *_CALLS[name]):
            return None
        if name == "sqrt":
            return _root(node, code)
        known = patterns.softplus(node, code) if name in ("log", "log1p") else None
        return _joined(known or text(node), node, code)

    def _joined(written: str, node: ast.expr, code: Code) -> str:
        """In parentheses, where what is around it would come first."""
        whole = f"{written} + {small}"
        around = next(code.parents(node), None)
        tight = ast.BinOp | ast.UnaryOp | ast.Attribute | ast.Subscript
        if isinstance(around, ast.BinOp) and isinstance(around.op, ast.Add):
            return whole
        return f"({whole})" if isinstance(around, tight) else whole

    def _root(node: ast.expr, code: Code) -> str | None:
        found = split(node, code)
        if found is None or not isinstance(node, ast.Call):
            return None
        inside = f"{operand(found[0])} + {small}"
        return f"{text(node.func)}({inside}{without(found[1])})"

    return change
