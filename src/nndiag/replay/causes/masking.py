"""Masks that come too late: the `where` trap, and rows that are masked altogether."""

from __future__ import annotations

import numpy as np

from nndiag.replay.causes import changes
from nndiag.replay.causes.cause import Cause
from nndiag.replay.causes.evidence import Evidence, Made, number
from nndiag.replay.causes.poles import slope

_SELECTIONS = {"select_n", "_where", "where"}
_NAMES = {
    "sqrt": (("sqrt", "norm", "std"), "1.0"),
    "power": (("**", "power", "pow", "float_power"), "1.0"),
    "division": (("/",), "1.0"),
    "log": (("log", "log2", "log10", "log1p"), "1.0"),
    "arccos": (("arccos", "arcsin", "acos", "asin"), "0.0"),
    "exp": (("exp", "expm1", "sinh", "cosh"), "0.0"),
}
_WRITTEN = {
    "sqrt": "sqrt at 0",
    "power": "a power below 1 at 0",
    "division": "1 / x at 0",
    "log": "log at 0",
    "arccos": "arccos at ±1",
    "exp": "exp, which overflowed",
    "": "the masked function",
}


def find(evidence: Evidence) -> Cause | None:
    """The cause, if a mask was applied after the damage was done."""
    if evidence.birth.kind != "nan":
        return None
    return _trap(evidence) or _masked_row(evidence)


def _trap(evidence: Evidence) -> Cause | None:
    """Backward: 0 · Inf, where a `where` made the 0 because it dropped this lane."""
    if evidence.birth.direction != "backward" or len(evidence.operands) != 2:
        return None
    if evidence.primitive not in ("mul", "div"):
        return None
    masked = [i for i in (0, 1) if evidence.value(i) == 0 and _selected(evidence, i)]
    if not masked:
        return None
    name = _function(evidence, 1 - masked[0])
    names, value = _NAMES.get(name, _NAMES["sqrt"])
    product = "0 / 0" if evidence.primitive == "div" else "0 · Inf"
    return Cause(
        f"`where` drops this lane, so its cotangent is 0, but the derivative of "
        f"{_WRITTEN[name]} is Inf and {product} is NaN: `where` masks the value, not "
        "the derivative",
        changes=(changes.double_where(names, value),),
        advice="mask the argument of the function as well (the double where): "
        "jnp.where(mask, f(jnp.where(mask, x, 1.0)), 0.0)",
    )


def _selected(evidence: Evidence, index: int) -> bool:
    return any(made.name in _SELECTIONS for made in evidence.upstream(index))


def _function(evidence: Evidence, index: int) -> str:
    """The function whose derivative the other factor is."""
    if evidence.primitive == "div":
        return "log"
    if evidence.birth.origin is not None and (
        name := slope(Evidence(evidence.birth.origin))
    ):
        return name
    for made in evidence.upstream(index):
        if made.name == "div" and _is_half(made):
            return "sqrt"
        if made.name in ("exp", "integer_pow", "rsqrt"):
            return {"exp": "exp", "integer_pow": "division", "rsqrt": "arccos"}[
                made.name
            ]
        if made.name == "pow":
            return "power"
        if made.name == "mul":
            inner = [evidence.make(atom) for atom in made.equation.invars]
            if any(found is not None and found.name == "pow" for found in inner):
                return "power"
    origin = evidence.birth.origin
    if origin is not None and origin.equation.primitive.name == "exp":
        return "exp"
    return ""


def _is_half(made: Made) -> bool:
    return bool(np.all(np.asarray(made.operands[0]) == 0.5))


def _masked_row(evidence: Evidence) -> Cause | None:
    """Forward: a softmax over a row of nothing but -Inf subtracts -Inf from -Inf."""
    if evidence.primitive != "sub":
        return None
    highest = next((m for m in evidence.upstream(1) if m.name == "reduce_max"), None)
    if highest is None or evidence.value(0) != -np.inf:
        return None
    row = evidence.element[:-1]
    where = f" {', '.join(map(str, row))}" if row else ""
    return Cause(
        f"all scores of row{where} are -Inf (a fully masked row), so their maximum is "
        f"-Inf, and {number(-np.inf)} − {number(-np.inf)} is NaN in the softmax",
        patterns=(changes.finite_mask(evidence.dtype),),
        advice=f"mask with jnp.finfo(jnp.{evidence.dtype}).min instead of -jnp.inf, or "
        "skip fully masked rows",
    )
