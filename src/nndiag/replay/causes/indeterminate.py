"""Operations on 0 and Inf without a value: 0 · Inf, Inf − Inf, 0 / 0, Inf / Inf."""

from __future__ import annotations

import numpy as np

from nndiag.replay.causes import changes, constants, floors, overflow, patterns, poles
from nndiag.replay.causes.cause import Cause
from nndiag.replay.causes.evidence import Evidence, number, term
from nndiag.replay.causes.patterns import EXPONENTIALS

_TERMS = {"mul": "·", "sub": "−", "add": "+", "add_any": "+", "div": "/"}
_SUMS = ("reduce_sum", "cumsum", "dot_general", "conv_general_dilated")


def find(evidence: Evidence) -> Cause | None:
    """The cause, if infinite or zero operands met."""
    if evidence.birth.kind != "nan":
        return None
    for cause in (_zero_by_zero, _met, _summed):
        if found := cause(evidence):
            return found
    return None


def _zero_by_zero(evidence: Evidence) -> Cause | None:
    if evidence.primitive != "div" or evidence.value(1) != 0:
        return None
    if evidence.is_complex:
        return Cause(
            f"{term(evidence.written(0))} / 0 is NaN for complex numbers",
            changes=(changes.safe_divisor,),
            advice="replace a divisor of 0 before the division: "
            "a / jnp.where(b == 0, 1.0, b)",
        )
    if evidence.value(0) != 0:
        return None
    if lost := constants.vanished(evidence, 1, "0 / 0 is NaN"):
        return lost
    if poles.slope(evidence) == "log":
        slope = poles.cause_of_slope("log", evidence)
        return slope._replace(text=f"{slope.text}, and here it is 0 / 0, which is NaN")
    for cause in (_few_elements, _no_elements, _equal_elements, _zero_vector):
        if found := cause(evidence):
            return found
    if floor := floors.find(evidence, 1, "0 / 0 is NaN"):
        return floor
    return Cause(
        "0 / 0 is NaN",
        patterns=EXPONENTIALS,
        changes=(changes.safe_divisor,),
        advice="replace a divisor of 0 before the division: "
        "a / jnp.where(b == 0, 1.0, b)",
    )


def _few_elements(evidence: Evidence) -> Cause | None:
    """A variance that divides by ``n - ddof = 0``."""
    below = evidence.source(1)
    if below is None or below.name != "sub":
        return None
    size, taken = (float(np.asarray(o).ravel()[0]) for o in below.operands)
    atoms = below.equation.invars
    if not hasattr(atoms[0], "val") or size != taken:
        return None
    return Cause(
        f"the variance of {number(size)} element with ddof={number(taken)} divides by "
        f"n − ddof = 0: 0 / 0 is NaN",
        advice="use ddof=0, or more than one element",
    )


def _no_elements(evidence: Evidence) -> Cause | None:
    above = evidence.source(0)
    if above is None or above.name != "reduce_sum":
        return None
    if np.asarray(above.operands[0]).size:
        return None
    return Cause(
        "the mean of no elements at all is 0 / 0",
        changes=(
            changes.replaced(("mean",), "{jnp}.sum({x}{rest}) / max({x}.size, 1)"),
        ),
        advice="skip empty arrays, or divide by max(x.size, 1)",
    )


def _equal_elements(evidence: Evidence) -> Cause | None:
    below = evidence.source(1)
    names = ("sqrt", "_std", "std")
    if below is None or below.name not in names:
        return None
    root = below.name == "sqrt"
    what = "a root that is 0" if root else "a standard deviation of 0 (equal elements)"
    return Cause(
        f"0 / 0: the divisor is {what}",
        changes=(changes.safe_divisor,),
        advice="add a small number to the divisor: (x - m) / (x.std() + 1e-6)",
    )


def _zero_vector(evidence: Evidence) -> Cause | None:
    made = evidence.ancestors([evidence.birth.equation.invars[1]], limit=6)
    if not any(m.name in ("norm", "linalg_norm") for m in made):
        return None
    return Cause(
        "0 / 0: the divisor is the norm of a zero vector",
        changes=(changes.bounded(("/",), "1e-06"),),
        advice="keep the norm away from 0: x / jnp.maximum(jnp.linalg.norm(x), 1e-6)",
    )


def _met(evidence: Evidence) -> Cause | None:
    """Two operands, at least one of them Inf."""
    sign = _TERMS.get(evidence.primitive)
    if sign is None or len(evidence.operands) != 2:
        return None
    elements = [evidence.element_of(index) for index in (0, 1)]
    if any(e is None for e in elements) or not any(map(np.isinf, elements)):
        return None
    left, right = evidence.written(0), term(evidence.written(1))
    text = f"{term(left) if evidence.is_complex else left} {sign} {right} is NaN"
    return _because(text, evidence)


def _summed(evidence: Evidence) -> Cause | None:
    name = evidence.primitive
    if name not in _SUMS:
        return None
    if name in ("reduce_sum", "cumsum"):
        text = "a sum holds both Inf and -Inf, and Inf − Inf is NaN"
    else:
        text = "0 · Inf or Inf − Inf inside a matrix product is NaN"
    return _because(text, evidence)


def _because(text: str, evidence: Evidence) -> Cause:
    """The cause, led back to the equation that made the Inf."""
    origin = evidence.birth.origin
    if origin is None and (why := constants.overflowed(evidence)):
        return Cause(
            f"{text}; {why}",
            advice="write a number that float16 holds, such as "
            "jnp.finfo(jnp.float16).min, or compute this in float32",
        )
    if origin is None:
        return Cause(
            f"{text}; the Inf is a constant or an argument of the program",
            patterns=(patterns.xlogy, *EXPONENTIALS),
            advice="keep infinite constants out of arithmetic; use them in comparisons "
            "and masks only",
        )
    made = Evidence(origin)
    first = poles.find(made) or overflow.find(made)
    why = first.text if first else f"{made.primitive} put out an Inf"
    return Cause(
        f"{text}; the Inf comes from line {origin.location.line}: {why}",
        patterns=(patterns.xlogy, *EXPONENTIALS),
        changes=first.changes if first else (),
        advice=first.advice if first else "look at what made the Inf",
        elsewhere=True,
        place=first.place if first else None,
    )
