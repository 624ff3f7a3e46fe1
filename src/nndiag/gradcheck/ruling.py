"""Whether one custom rule is the derivative of its own function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.gradcheck.blaming import Subject
from nndiag.gradcheck.capturing import Use
from nndiag.gradcheck.comparing import distance, relate
from nndiag.gradcheck.digits import few_digits
from nndiag.gradcheck.paths import blame_path
from nndiag.gradcheck.slips import blame_slip
from nndiag.gradcheck.slopes import Slope, slope
from nndiag.gradcheck.stripping import coarsest, is_stepped, strip
from nndiag.jaxprs import compat
from nndiag.jaxprs.compat.rules import rule_source

_MOST_ELEMENTS = 6
_LOUDER = 1e3
_ROUNDING = 1e4
_COARSE = 1e-4


class Verdict(NamedTuple):
    """What is wrong with a rule.

    Attributes:
        kind: ``"guilty"``, ``"nonlinear"``, ``"deliberate"``, or ``"note"`` for one
            that could not be judged.
        text: in words.
        operand: number of the operand that it is wrong by.
    """

    kind: str
    text: str
    operand: int = 0


def judge_rule(use: Use) -> Verdict | None:
    """`None` if the rule is the derivative."""
    equation, operands = use
    body = equation.params["call_jaxpr"]
    chosen = [i for i, value in enumerate(operands) if _is_float(value)]
    made = [i for i, v in enumerate(equation.outvars) if _is_float(v.aval)]
    if not chosen or not made or not all(map(_is_finite, operands)):
        return None

    def ruled(*values: Any) -> list[Any]:
        outputs = compat.bind(equation, _put(operands, chosen, values))
        return [outputs[i] for i in made]

    def bare(*values: Any) -> list[Any]:
        outputs = strip(body, _put(operands, chosen, values))
        return [outputs[i] for i in made]

    values = [jnp.asarray(operands[i]) for i in chosen]
    draw = np.random.default_rng(0)
    weights = [
        jnp.asarray(draw.standard_normal(v.aval.shape), v.aval.dtype)
        for v in (equation.outvars[i] for i in made)
    ]
    try:
        _, pull = jax.vjp(ruled, *values)
        given = [np.asarray(g) for g in pull(weights)]
    except Exception as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Verdict("note", f"cannot be evaluated: {why}")
    try:
        _, reference = jax.vjp(bare, *values)
        expected = [np.asarray(g) for g in reference(weights)]
    except Exception:  # a while loop, say: differences alone decide
        expected = [np.full(g.shape, np.nan, g.dtype) for g in given]
    epsilon, finest = coarsest(ruled, bare, values), coarsest(bare, bare, values)
    names = rule_source(equation).operands
    deliberate = None
    for number, (got, right) in enumerate(zip(given, expected, strict=True)):
        at = chosen[number] - (len(operands) - len(names))
        name = names[at] if 0 <= at < len(names) else f"operand {chosen[number]}"

        def along(step: Any, number: int = number) -> list[Any]:
            moved = [v + step if i == number else v for i, v in enumerate(values)]
            return bare(*moved)

        def blame(number: int = number, got: Any = got, right: Any = right) -> str:
            def total(value: Any) -> Any:
                outputs = bare(
                    *[value if i == number else v for i, v in enumerate(values)]
                )
                return sum(
                    jnp.vdot(w, o) for w, o in zip(weights, outputs, strict=True)
                )

            return _blamed(Subject(total, [values[number]], {}), got, right, epsilon)

        verdict = _judge_operand(
            got,
            right,
            name,
            along,
            np.asarray(values[number]),
            weights,
            epsilon,
            finest,
            blame,
        )
        if verdict and verdict.kind == "wrong":
            if is_stepped(body) and not np.any(right) and _is_flat(bare, values):
                text = (
                    f"is a straight-through rule: {name} passes a rounding or a step, "
                    "whose derivative is 0, and the rule is not 0; its size and sign "
                    "are a matter of choice and were not checked"
                )
                deliberate = Verdict("deliberate", text, max(at, 0))
                continue
            return verdict._replace(kind="guilty", operand=max(at, 0))
    return deliberate or _judge_scale(ruled, values, weights, given, epsilon)


def _judge_operand(
    got: Any,
    right: Any,
    name: str,
    along: Callable[[Any], list[Any]],
    value: Any,
    weights: Sequence[Any],
    epsilon: float,
    finest: float,
    blame: Callable[[], str],
) -> Verdict | None:
    rounding = _ROUNDING * epsilon
    usable = np.abs(right[np.isfinite(right)])
    scale = max(usable.max(initial=0.0), np.abs(got[np.isfinite(got)]).max(initial=0.0))
    error = np.abs(got - right)
    digits = few_digits(got, right) if error.any() else ""
    if digits and float(jnp.finfo(digits).eps) > finest:
        text = f"the derivative rounded to {digits} precision"
        return Verdict("wrong", f"with respect to {name}, it is {text}")
    suspects = np.argwhere(~(error <= rounding * scale))
    if not len(suspects):
        return None
    badness = np.nan_to_num(error[tuple(suspects.T)], nan=np.inf, posinf=np.inf)
    order = np.argsort(-badness, kind="stable")[:_MOST_ELEMENTS]
    for index in map(tuple, suspects[order]):
        found = slope(along, value, index, weights, epsilon)
        if epsilon > _COARSE:  # differences would see only the steps of its rounding
            found = Slope(right[index], 0.0, smooth=bool(np.isfinite(right[index])))
        bound = max(found.bound, rounding * scale)
        if not found.smooth or abs(got[index] - found.value) <= bound:
            continue
        right_there = np.isclose(right[index], found.value, rtol=1e-4, atol=bound)
        relation = (
            relate(got, right, np.asarray(value), rounding=rounding)
            if right_there and np.isfinite(right).all()
            else None
        )
        place = f" at {list(map(int, index))}" if index else ""
        text = (
            relation.words
            if relation
            else explained
            if (explained := blame() if right_there else "")
            else (
                f"not the derivative: {got[index]:.6g}{place}, where differences give "
                f"{found.value:.6g} (for one random cotangent); {len(suspects)} of "
                f"{got.size} elements differ"
            )
        )
        return Verdict("wrong", f"with respect to {name}, it is {text}")
    return None


def _is_flat(bare: Callable[..., list[Any]], values: Sequence[Any]) -> bool:
    """Whether the derivative is 0 at other values too, as that of a step is."""
    draw = np.random.default_rng(1)
    for scale in (-1.0, 1.7):
        moved = [v * scale + 0.3 * draw.standard_normal(v.shape) for v in values]
        cast = [jnp.asarray(m, v.dtype) for m, v in zip(moved, values, strict=True)]
        outputs, pull = jax.vjp(bare, *cast)
        if any(np.any(g) for g in pull([jnp.ones_like(o) for o in outputs])):
            return False
    return True


def _blamed(subject: Subject, got: Any, right: Any, epsilon: float) -> str:
    """What the rule does to the derivative of its own function, if one slip does it."""
    both, rounding = (np.ravel(got), np.ravel(right)), _ROUNDING * epsilon
    found = blame_path(subject, *both, rounding) or blame_slip(subject, *both, rounding)
    return found.words if found else ""


def _judge_scale(
    ruled: Callable[..., list[Any]],
    values: Sequence[Any],
    weights: Sequence[Any],
    given: Sequence[Any],
    epsilon: float,
) -> Verdict | None:
    """A derivative is linear in the cotangent; a rule that clips it is not."""
    _, pull = jax.vjp(ruled, *values)
    louder = pull([_LOUDER * w for w in weights])
    for got, loud in zip(given, louder, strict=True):
        change = distance(_LOUDER * got, np.asarray(loud))
        if np.isfinite(got).all() and change > _ROUNDING * epsilon:
            text = (
                "it is not linear in the cotangent: 1000 times the cotangent does not "
                "give 1000 times the result, as where a gradient is clipped on its way"
            )
            return Verdict("nonlinear", text)
    return None


def _put(operands: Sequence[Any], chosen: Sequence[int], values: Any) -> list[Any]:
    changed = list(operands)
    for index, value in zip(chosen, values, strict=True):
        changed[index] = value
    return changed


def _is_float(value: Any) -> bool:
    return bool(jnp.issubdtype(value.dtype, jnp.inexact)) and bool(
        np.prod(value.shape, dtype=int)
    )


def _is_finite(value: Any) -> bool:
    return not _is_float(value) or bool(jnp.isfinite(value).all())
