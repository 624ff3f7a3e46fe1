"""Functions at a place where they, or their derivatives, are infinite."""

from __future__ import annotations

import math

import jax.numpy as jnp

from nndiag.replay.causes import changes, constants, floors
from nndiag.replay.causes.cause import Cause, tiny
from nndiag.replay.causes.evidence import Evidence, Made, number, term
from nndiag.replay.causes.patterns import EXPONENTIALS

ROOTS = ("sqrt", "norm", "std", "cbrt", "power", "pow", "**", "linalg_norm")
_INVERSE = {"atanh": "arctanh", "erf_inv": "erf_inv"}


def find(evidence: Evidence) -> Cause | None:
    """The cause, if an Inf was made from a finite operand at a pole."""
    if evidence.birth.kind != "inf":
        return None
    for cause in (_logarithm, _slope, _division, _root, _power, _inverse, _empty):
        if found := cause(evidence):
            return found
    return None


def slope(evidence: Evidence) -> str:
    """The function whose infinite derivative this equation is, `""` if it is none.

    JAX writes the derivative of ``sqrt`` as ``0.5 / sqrt(x)``, of ``x ** p`` as
    ``p * x ** (p - 1)``, of ``a / b`` as ``a * b ** -2``, of ``arccos`` as
    ``-rsqrt(1 - x²)``.
    """
    name = evidence.primitive
    if name == "div":
        below = evidence.made(1)
        if below is not None and below.name == "sqrt" and evidence.constant(0) == 0.5:
            return "sqrt"
        source = evidence.birth.source
        divides = "/" in source and "log" not in source
        if evidence.birth.direction == "backward" and not divides:
            return "log"
    if name == "pow" and _less_one(evidence.made(1)):
        return "power"
    if name == "integer_pow" and evidence.parameters["y"] == -2:
        return "division"
    if name == "rsqrt":
        below = evidence.source(0)
        if below is not None and below.name in ("sub", "one_minus_square"):
            return "arccos"
    return ""


def cause_of_slope(name: str, evidence: Evidence) -> Cause:
    """Why the derivative of a function is infinite, and what to write."""
    dtype = evidence.dtype
    if name == "sqrt":
        return Cause(
            "the derivative of sqrt(x), 0.5 / sqrt(x), is Inf at x = 0 (the value is "
            "fine); a norm or standard deviation of equal or zero elements is such a "
            "sqrt",
            changes=(changes.safe_root(tiny(dtype)),),
            advice="keep the argument of sqrt above 0: "
            f"jnp.sqrt(jnp.maximum(x, {tiny(dtype)}))",
        )
    if name == "power":
        return Cause(
            f"the derivative of x ** p with p < 1 is p · x ** (p − 1), which is Inf at "
            f"x = 0 (here p − 1 = {evidence.written(1)})",
            changes=(changes.safe_root(tiny(dtype)),),
            advice=f"keep the base above 0: jnp.maximum(x, {tiny(dtype)}) ** p",
        )
    if name == "arccos":
        return Cause(
            "the derivative of arccos and arcsin, ∓1 / sqrt(1 − x²), is Inf at x = ±1 "
            "(the value is fine)",
            changes=(_inside(evidence),),
            advice="clip the argument to just inside −1 … 1",
        )
    if name == "log":
        return Cause(
            "the derivative of log(x), 1 / x, is taken at x = "
            f"{number(_divisor(evidence))}",
            patterns=EXPONENTIALS,
            changes=(changes.bounded(("log",), tiny(dtype)), changes.safe_divisor),
            advice="keep the argument of log above 0, or use jax.nn.log_softmax",
        )
    text = (
        "the derivative of 1 / x, −1 / x², is Inf at x = "
        f"{evidence.written(0)}{_square(evidence)}"
    )
    return floors.find(evidence, 0, text) or Cause(
        text,
        changes=(changes.safe_divisor,) if evidence.value(0) == 0 else (),
        advice="keep the divisor away from 0",
    )


def _logarithm(evidence: Evidence) -> Cause | None:
    if evidence.primitive not in ("log", "log1p", "log2", "lgamma", "digamma"):
        return None
    name, low = evidence.primitive, tiny(evidence.dtype)
    text = f"{name}({evidence.written(0)}) is {_result(evidence)}"
    source = next((m for m in evidence.upstream(0) if m.name == "div"), None)
    made = evidence.source(0)
    if (source and _is_softmax(source, evidence)) or (made and made.name == "softmax"):
        return Cause(
            f"{text}: a probability of the softmax is below the smallest "
            f"{evidence.dtype} and became 0",
            patterns=EXPONENTIALS,
            changes=(changes.bounded((name,), low),),
            advice="use jax.nn.log_softmax on the logits",
        )
    if floor := floors.find(
        evidence, 0, text, what="its argument", among=floors.SCALES
    ):
        return floor
    if name == "log1p":
        return Cause(text, advice="keep the argument of log1p above −1")
    return Cause(
        text,
        patterns=EXPONENTIALS,
        changes=(changes.bounded((name,), low),),
        advice=f"keep the argument of {name} above 0: jnp.maximum(x, {low})",
    )


def _slope(evidence: Evidence) -> Cause | None:
    name = slope(evidence)
    return cause_of_slope(name, evidence) if name else None


def _division(evidence: Evidence) -> Cause | None:
    if evidence.primitive != "div" or _divisor(evidence) != 0:
        return None
    text = f"{_numerator(evidence)} / 0 is {_result(evidence)}"
    if lost := constants.vanished(evidence, 1, text):
        return lost
    if floor := floors.find(evidence, 1, text):
        return floor
    return Cause(
        text,
        changes=(changes.safe_divisor,),
        advice="replace a divisor of 0 before the division: "
        "a / jnp.where(b == 0, 1.0, b)",
    )


def _root(evidence: Evidence) -> Cause | None:
    if evidence.primitive != "rsqrt":
        return None
    low = tiny(evidence.dtype)
    text = f"rsqrt({evidence.written(0)}) = 1 / sqrt(0) is Inf"
    if lost := constants.vanished(evidence, 0, text):
        return lost
    return Cause(
        text,
        changes=(changes.bounded(("rsqrt",), low),),
        advice="add a small number under the root: jax.lax.rsqrt(x + 1e-6)",
    )


def _power(evidence: Evidence) -> Cause | None:
    if evidence.primitive == "integer_pow":
        exponent = float(evidence.parameters["y"])
    elif evidence.primitive == "pow":
        exponent = evidence.value(1)
    else:
        return None
    if evidence.value(0) != 0 or exponent >= 0:
        return None
    return Cause(
        f"0 to the power {number(exponent)} is Inf",
        changes=(changes.bounded(("**", "power"), tiny(evidence.dtype)),),
        advice="keep the base of a negative power away from 0",
    )


def _inverse(evidence: Evidence) -> Cause | None:
    name = _INVERSE.get(evidence.primitive)
    if name is None:
        return None
    return Cause(
        f"{name}({evidence.written(0)}) is {_result(evidence)}",
        changes=(_inside(evidence),),
        advice=f"clip the argument of {name} to just inside −1 … 1",
    )


def _empty(evidence: Evidence) -> Cause | None:
    if evidence.primitive not in ("reduce_max", "reduce_min", "argmax", "argmin"):
        return None
    if evidence.operands[0].size:
        return None
    return Cause(
        "the maximum or minimum of no elements at all is infinite",
        advice="give it an `initial` value, or skip empty arrays",
    )


def _inside(evidence: Evidence) -> changes.Change:
    edge = "0.999" if evidence.dtype in ("float16", "bfloat16") else "0.999999"
    names = (
        "arccos",
        "arcsin",
        "acos",
        "asin",
        "arctanh",
        "atanh",
        "erf_inv",
        "erfinv",
    )
    return changes.bounded(names, f"-{edge}", edge)


def _less_one(made: Made | None) -> bool:
    """Whether an exponent was made by ``p - 1``, as the derivative of a power does."""
    return made is not None and made.name == "sub" and float(made.operands[1]) == 1.0


def _is_softmax(division: Made, evidence: Evidence) -> bool:
    top = evidence.make(division.equation.invars[0])
    return top is not None and top.name == "exp"


def _square(evidence: Evidence) -> str:
    """Why −1 / x² is Inf in this dtype, also where it is finite on paper."""
    x, limits = evidence.value(0), jnp.finfo(evidence.dtype)
    smallest = float(limits.smallest_normal)
    on_paper = x * x * float(limits.max) >= 1
    if on_paper and x * x < smallest:
        return (
            f": x² is below {number(smallest, 2)}, the smallest normal number of "
            f"{evidence.dtype}, and counts as 0"
        )
    return f" in {evidence.dtype}"


def _divisor(evidence: Evidence) -> float:
    value = evidence.value(1)
    return 0.0 if math.isnan(value) and not evidence.is_complex else value


def _numerator(evidence: Evidence) -> str:
    text = evidence.written(0)
    return term(text) if evidence.is_complex else text


def _result(evidence: Evidence) -> str:
    return number(evidence.result[evidence.element])
