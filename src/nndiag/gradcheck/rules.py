"""Custom derivative rules that are not the derivative of their function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nndiag.gradcheck.capturing import Use, uses
from nndiag.gradcheck.ruling import Verdict, judge_rule
from nndiag.gradcheck.tracing import trace, wide
from nndiag.jaxprs.compat.rules import rule_source
from nndiag.records.gradcheck import GuiltyRule

_MOST_USES = 16


Place = tuple[str, str, int]


class Examination(NamedTuple):
    """What the custom rules of a program were found to be.

    Attributes:
        guilty: rules that are not the derivative, in the order of the program.
        deliberate: on rules that are not the derivative on purpose, by name of the
            function, file and line of the rule.
        notes: on rules that could not be examined.
        places: name, file and line of each guilty rule.
        examined: number of uses that were looked at.
    """

    guilty: tuple[GuiltyRule, ...]
    deliberate: dict[Place, str]
    notes: tuple[str, ...]
    places: frozenset[Place]
    examined: int


def examine_rules(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Examination:
    """Holds every custom rule in `fn` against the derivative of its own function.

    Each is called with the values that it really saw. The derivative is JAX's of the
    function without its rule; where the two differ, central and one-sided differences
    decide, so that a convention at a kink is no fault. Rules of JAX and of optax,
    flax, equinox and haiku are taken as they are.

    >>> import jax
    >>> @jax.custom_vjp
    ... def cube(x):
    ...     return x**3
    >>> cube.defvjp(lambda x: (x**3, x), lambda x, g: (2 * x**2 * g,))
    >>> rule = examine_rules(lambda x: cube(x) + 1.0, 2.0).guilty[0]
    >>> rule.name, rule.explanation
    ('cube', 'with respect to x, it is 0.666667 times the derivative')
    """
    guilty: dict[Place, GuiltyRule] = {}
    nonlinear: dict[Place, GuiltyRule] = {}
    deliberate: dict[Place, str] = {}
    notes: dict[str, None] = {}
    seen: Counter[Place] = Counter()
    with wide(), np.errstate(all="ignore"):
        traced = trace(fn, *args, **kwargs)
        for use in uses(traced.jaxpr, traced.values):
            key = place_of(use.equation)
            seen[key] += 1
            if key in guilty or seen[key] > _MOST_USES:
                continue
            verdict = judge_rule(use)
            if verdict is None:
                continue
            rule = _guilty(use, verdict)
            if verdict.kind == "guilty":
                guilty[key] = rule
            elif verdict.kind == "nonlinear":
                nonlinear.setdefault(key, rule)
            else:
                place = f" at {rule.file}:{rule.line}" if rule.file else ""
                text = f"the rule of {rule.name}{place} {verdict.text}"
                if verdict.kind == "deliberate":
                    deliberate[key] = text
                else:
                    notes[text] = None
    found = {**guilty, **{k: v for k, v in nonlinear.items() if k not in guilty}}
    return Examination(
        tuple(found.values()),
        deliberate,
        tuple(notes),
        frozenset(found),
        seen.total(),
    )


def place_of(equation: Any) -> Place:
    """Name of the function, file and line of the rule of an equation."""
    source = rule_source(equation)
    return source.function, source.file, source.line


def _guilty(use: Use, verdict: Verdict) -> GuiltyRule:
    source = rule_source(use.equation, verdict.operand)
    return GuiltyRule(
        name=source.function,
        file=_shorten(source.file),
        line=source.line,
        kind="custom_vjp" if "vjp" in use.equation.primitive.name else "custom_jvp",
        explanation=verdict.text,
    )


def _shorten(file: str) -> str:
    path, here = Path(file), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else file
