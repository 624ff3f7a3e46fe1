"""Finite numbers whose result is too large for its dtype."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from nndiag.replay.causes import changes
from nndiag.replay.causes.cause import Cause
from nndiag.replay.causes.evidence import Evidence, largest, number, term
from nndiag.replay.causes.patterns import EXPONENTIALS

_EXPONENTIAL = {"exp": 1.0, "exp2": math.log(2), "expm1": 1.0, "sinh": 1.0, "cosh": 1.0}
_WRITTEN = {"mul": "·", "add": "+", "add_any": "+", "sub": "−", "div": "/"}
_SUMS = ("reduce_sum", "cumsum", "dot_general", "conv_general_dilated", "reduce_prod")
_HALF = ("float16",)


def find(evidence: Evidence) -> Cause | None:
    """The cause, if finite operands gave an Inf that is no pole, or what stands for it.

    Some types of 8 bits have no Inf: what overflows becomes NaN.
    """
    endless = has_infinity(evidence.dtype)
    if (evidence.birth.kind == "inf") is not endless:
        return None
    for cause in (_exponential, _cast, _power, _sum, _arithmetic):
        if found := cause(evidence):
            if endless:
                return found
            nothing = f"{evidence.dtype} has no Inf, so it becomes NaN"
            return found._replace(text=f"{found.text}; {nothing}")
    return None


def has_infinity(dtype: str) -> bool:
    """Whether a floating dtype has an Inf.

    >>> has_infinity("float8_e5m2"), has_infinity("float8_e4m3fn")
    (True, False)
    """
    return bool(np.isinf(np.array(np.inf).astype(jnp.dtype(dtype))))


def exponent_limit(primitive: str, dtype: str) -> float:
    """The largest argument at which an exponential is finite.

    >>> round(exponent_limit("exp", "float32"), 2)
    88.72
    """
    double = math.log(2) if primitive in ("sinh", "cosh") else 0.0
    return (math.log(largest(dtype)) + double) / _EXPONENTIAL[primitive]


def _exponential(evidence: Evidence) -> Cause | None:
    name = evidence.primitive
    if name not in _EXPONENTIAL:
        return None
    limit = exponent_limit(name, evidence.dtype)
    text = (
        f"{name}({evidence.written(0)}) overflows {evidence.dtype}, "
        f"whose largest argument is {number(limit)}"
    )
    bound = str(math.floor(limit * 10) / 10 - 0.1)[:4].rstrip(".")
    return Cause(
        text,
        patterns=EXPONENTIALS,
        changes=(changes.bounded((name,), None, bound),),
        advice=f"subtract the maximum before {name}, or use jax.nn.logsumexp, "
        "jax.nn.log_softmax or jax.nn.softmax, which do",
    )


def _cast(evidence: Evidence) -> Cause | None:
    if evidence.primitive not in ("convert_element_type", "reduce_precision"):
        return None
    dtype = evidence.dtype
    value = evidence.written(0)
    before = str(evidence.operands[0].dtype)
    source = evidence.source(0)
    if source is not None and source.name == "reduce_sum" and dtype in _HALF:
        return _half_precision(
            f"a sum of {value} overflows {dtype}, whose largest number is "
            f"{number(evidence.largest)}; JAX adds in {before} and casts the result",
            evidence,
        )
    text = (
        f"the cast of {value} from {before} to {dtype} overflows: the largest {dtype} "
        f"is {number(evidence.largest)}"
    )
    if _is_gradient(evidence):
        return _gradient(text)
    return Cause(
        text,
        changes=(changes.half_as_bfloat16,),
        advice=f"keep it in {before}, or cast to bfloat16, which has the range of "
        "float32",
    )


def _power(evidence: Evidence) -> Cause | None:
    name, base = evidence.primitive, evidence.value(0)
    if name in ("integer_pow", "square"):
        exponent = float(evidence.parameters.get("y", 2))
    elif name == "pow":
        exponent = evidence.value(1)
    else:
        return None
    if base == 0 or not math.isfinite(base):
        return None
    text = (
        f"{term(number(base))} to the power {number(exponent)} overflows "
        f"{evidence.dtype}, whose largest number is {number(evidence.largest)}"
    )
    return _too_large(text, evidence)


def _sum(evidence: Evidence) -> Cause | None:
    name = evidence.primitive
    if name not in _SUMS:
        return None
    highest = max(
        float(np.max(np.abs(o.astype(np.float64)), initial=0))
        for o in evidence.operands
    )
    what = {
        "dot_general": "a matrix product",
        "conv_general_dilated": "a convolution",
        "reduce_prod": "a product",
    }.get(name, "a sum")
    text = (
        f"{what} of {evidence.dtype} numbers up to {number(highest)} in size overflows"
        f": the largest {evidence.dtype} is {number(evidence.largest)}"
    )
    return _too_large(text, evidence)


def _arithmetic(evidence: Evidence) -> Cause | None:
    sign = _WRITTEN.get(evidence.primitive)
    if sign is None or len(evidence.operands) != 2:
        return None
    values = evidence.values()
    if not all(map(math.isfinite, values)) or (sign == "/" and values[1] == 0):
        return None
    text = (
        f"{_joined(values, sign)} overflows {evidence.dtype}, whose largest number is "
        f"{number(evidence.largest)}"
    )
    return _too_large(text, evidence)


def _too_large(text: str, evidence: Evidence) -> Cause:
    if evidence.dtype in _HALF:
        return _half_precision(text, evidence)
    return Cause(
        text,
        advice="look at why the numbers are this large (unscaled inputs, a diverging "
        "step), or work with their logarithms",
    )


def _half_precision(text: str, evidence: Evidence) -> Cause:
    if _is_gradient(evidence):
        return _gradient(text)
    return Cause(
        text,
        changes=changes.IN_FLOAT32,
        advice="compute this in float32 or bfloat16 and cast the result back",
    )


def _is_gradient(evidence: Evidence) -> bool:
    return evidence.birth.direction == "backward" and evidence.dtype in _HALF


def _gradient(text: str) -> Cause:
    """No rewrite: what a line of the forward pass gives back is cast to its dtype."""
    return Cause(
        f"{text}; this is a gradient: if the loss is scaled, the scale is too large",
        advice="lower the loss scale and skip a step whose gradients are not finite, "
        "as a dynamic loss scale does, or compute this in float32 or bfloat16",
    )


def _joined(values: Sequence[float], sign: str) -> str:
    return f" {sign} ".join(term(number(value)) for value in values)
