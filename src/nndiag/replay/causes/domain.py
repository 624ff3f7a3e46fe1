"""Arguments outside the domain of a function: roots and logarithms of negatives."""

from __future__ import annotations

import numpy as np

from nndiag.replay.causes import changes
from nndiag.replay.causes.cause import Cause, tiny
from nndiag.replay.causes.evidence import Evidence, Made, is_integer, is_key, number

_TRIGONOMETRIC = {"sin", "cos", "tan"}
_INVERSE = {"acos": "arccos", "asin": "arcsin", "atanh": "arctanh", "acosh": "arccosh"}


def find(evidence: Evidence) -> Cause | None:
    """The cause, if a finite argument has no real value."""
    if evidence.birth.kind != "nan":
        return None
    for cause in (
        _root,
        _logarithm,
        _power,
        _inverse,
        _angle,
        _remainder,
        _fill,
    ):
        if found := cause(evidence):
            return _of_integers(found, evidence)
    return None


def _root(evidence: Evidence) -> Cause | None:
    name, value = evidence.primitive, evidence.value(0)
    if name not in ("sqrt", "rsqrt") or not value < 0:
        return None
    low = tiny(evidence.dtype)
    below = " (a difference that is 0 up to rounding may come out just below 0)"
    source = evidence.source(0)
    difference = source is not None and source.name == "sub" and value > -1e-2
    return Cause(
        f"{name}({number(value)}) is not real{below if difference else ''}",
        changes=(changes.bounded((name,), low),),
        advice=f"keep the argument above 0: jnp.{name}(jnp.maximum(x, {low}))",
    )


def _logarithm(evidence: Evidence) -> Cause | None:
    name, value = evidence.primitive, evidence.value(0)
    if name not in ("log", "log2", "log1p") or not value < 0:
        return None
    low = tiny(evidence.dtype)
    limit = "-0.999999" if name == "log1p" else low
    return Cause(
        f"{name}({number(value)}) is not real",
        changes=(changes.bounded((name,), limit),),
        advice="make the argument positive, for instance with jax.nn.softplus",
    )


def _power(evidence: Evidence) -> Cause | None:
    if evidence.primitive != "pow":
        return None
    base, exponent = evidence.value(0), evidence.value(1)
    if not base < 0:
        return None
    names = ("**", "power", "pow", "float_power")
    return Cause(
        f"({number(base)}) to the power {number(exponent)}, which is no whole number, "
        "is not real",
        changes=(changes.replaced(names, "{jnp}.sign({x}) * {jnp}.abs({x}) ** {y}"),),
        advice="take the power of jnp.abs(x), or keep the base positive",
    )


def _inverse(evidence: Evidence) -> Cause | None:
    name = _INVERSE.get(evidence.primitive)
    if name is None:
        return None
    value = evidence.written(0, 7)
    if name == "arccosh":
        return Cause(f"{name}({value}) is not real: it needs an argument of 1 or more")
    edge = "0.999" if evidence.dtype in ("float16", "bfloat16") else "0.999999"
    names = (name, evidence.primitive)
    return Cause(
        f"{name}({value}) is not real: the argument lies outside −1 … 1",
        changes=(changes.bounded(names, f"-{edge}", edge),),
        advice="clip the argument to just inside −1 … 1",
    )


def _angle(evidence: Evidence) -> Cause | None:
    if evidence.primitive not in _TRIGONOMETRIC or not np.isinf(evidence.value(0)):
        return None
    return Cause(
        f"{evidence.primitive} of {evidence.written(0)} has no value",
        advice="look at what made the argument infinite",
    )


def _remainder(evidence: Evidence) -> Cause | None:
    if evidence.primitive != "rem":
        return None
    return Cause(
        f"the remainder of {evidence.written(0)} divided by {evidence.written(1)} is "
        "not defined",
        advice="keep the divisor of a remainder away from 0 and the dividend finite",
    )


def _fill(evidence: Evidence) -> Cause | None:
    if evidence.primitive != "gather" or "FILL" not in str(evidence.parameters["mode"]):
        return None
    size, index = evidence.operands[0].shape, evidence.operands[1]
    text = f"an index lies outside an array of shape {size}, which reads as NaN"
    if index.shape[-1] == 1 and index.size:
        axis = evidence.parameters["dimension_numbers"].start_index_map[0]
        flat = index.ravel()
        beyond = [int(i) for i in flat if not 0 <= i < size[axis]]
        if beyond:
            text = (
                f"index {beyond[0]} lies outside the {size[axis]} elements of the "
                "axis; such a look-up reads as NaN"
            )
    return Cause(
        text,
        changes=(changes.replaced(("take",), '{jnp}.take({x}{rest}, mode="clip")'),),
        advice="check the indices (vocabulary size, labels), or clip them",
    )


def _of_integers(cause: Cause, evidence: Evidence) -> Cause:
    wrapped = _wrapped(evidence)
    if not wrapped:
        return cause
    return Cause(
        f"{cause.text}; {wrapped}",
        advice="cast to a float before the integers are multiplied or added up",
    )


def _wrapped(evidence: Evidence) -> str:
    """That the argument was an integer that wrapped around, if it was one."""
    if not evidence.operands or is_key(evidence.operands[0]):
        return ""
    for made in evidence.upstream(0):
        if made.operands and is_integer(made.operands[0]) and (why := _exact(made)):
            return why
    return ""


def _exact(made: Made) -> str:
    """What an integer equation should have given, if that is not what it gave."""
    operands = [np.asarray(o).astype(object) for o in made.operands]
    if made.name == "mul":
        exact = operands[0] * operands[1]
    elif made.name == "add":
        exact = operands[0] + operands[1]
    elif made.name == "sub":
        exact = operands[0] - operands[1]
    elif made.name in ("integer_pow", "square"):
        exact = operands[0] ** int(made.equation.params.get("y", 2))
    elif made.name in ("reduce_sum", "reduce_prod"):
        axes = tuple(made.equation.params["axes"])
        reduce = np.sum if made.name == "reduce_sum" else np.prod
        exact = reduce(operands[0], axis=axes)
    else:
        return ""
    dtype = made.operands[0].dtype
    limits = np.iinfo(dtype)
    flat = np.asarray(exact, dtype=object).ravel()
    beyond = [value for value in flat if not limits.min <= value <= limits.max]
    if not beyond:
        return ""
    return (
        f"it comes from {dtype} numbers that wrapped around: {beyond[0]} is beyond "
        f"{limits.max}"
    )
