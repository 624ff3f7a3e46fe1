"""# ND402 near_overflow

## What it measures

The headroom of every recorded array and of every operation of the loss that can leave
its type's range: `log2(max of its dtype) − log2(max|x|)`, in bits; and how fast it
closes, in bits per step, over the last recorded steps (Theil and Sen's median of the
slopes of all pairs). float32 and bfloat16 end at 2^128, float16 at 2^16, float64 at
2^1024.

The operations are: exponentials; logarithms, whose derivative 1/x grows as the argument
nears 0; square roots and divisions, by their result and by their derivative; powers and
squares; casts to a narrower range; sums, dots and convolutions in float16 and float8.
Of each the derivative by its operand is followed as well. What the program itself keeps
in range, such as `exp(x - max x)`, is not watched.

## Why it matters

At 0 bits the value is infinite, and NaN one operation later. Squares, as in norms and
variances, overflow at half of the range already.

## When it fires

When less than 3 bits are left; or when no more than a quarter of the type's range is
left, the headroom has closed steadily, and at that pace it would be used up within a
quarter of the steps taken so far. A magnitude that never changes (the constant of an
attention mask) is no approach and is left out, and so is a zero whose logarithm is
taken or that is divided by.

## What to do

An exponential: subtract the maximum first (`log_softmax`, `logsumexp`). A logarithm or
division: take logarithms of the logits, or keep the argument away from 0. Lower the
learning rate if weights or activations grow; compute in float32 or bfloat16 what
overflows in float16; lower the loss scale if only gradients are close.

## Known limits

What happens inside an activation function, a `custom_jvp` or a `custom_vjp` is not
seen. A run that overflows within five recorded steps has no pace. Dynamic loss scaling
drives float16 gradients to the edge on purpose: where the run got over gradients that
were not finite, this is told as information.

## References

- P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", 1968.
- P. Micikevicius et al., "Mixed precision training", ICLR 2018.
- IEEE 754-2019.
"""  # noqa: D415 (the first line is a heading)

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from nndiag.records import Evidence, Finding, Floats, Integers, Role, Run, Site
from nndiag.rules.headroom import RANGE, headrooms, narrow
from nndiag.rules.measures import batches, certainty, recovered, tenth
from nndiag.rules.thresholds import HEADROOM, HEADROOM_CLOSING, HEADROOM_SOON
from nndiag.rules.words import name, number


class _Approach(NamedTuple):
    """How near something came to overflow.

    Attributes:
        site: where.
        role: of what there.
        headroom: bits left, shape (R,).
        least: bits left at `step`, the nearest (of a steady approach, the last) step.
        step: that step.
        pace: bits per step by which they close there, 0 if not steadily.
    """

    site: Site
    role: Role
    headroom: Floats
    least: float
    step: int
    pace: float


def examine(run: Run) -> Iterator[Finding]:
    """At most one finding, on the array with the least headroom."""
    roles: tuple[Role, ...] = (
        "value",
        "cotangent",
        "parameter",
        "gradient",
        "update",
    )
    near = [
        approach
        for role in roles
        for sites in batches(run, run.sites)
        for site, bits in _low(sites, headrooms(run, role, sites))
        if (approach := _approach(run, role, site, bits)) is not None
    ]
    if not near:
        return
    worst = min(near, key=lambda a: (_is_sought(run, a), a.least))
    yield _finding(run, worst, tuple(dict.fromkeys(a.site for a in near)))


def _is_sought(run: Run, approach: _Approach) -> bool:
    """Whether a loss scale drives a gradient there, and bad steps are skipped."""
    return recovered(run) and _is_backward(approach) and narrow(approach.site)


def _is_backward(approach: _Approach) -> bool:
    return approach.role in ("cotangent", "gradient")


def _low(sites: Sequence[Site], bits: Floats) -> Iterator[tuple[Site, Floats]]:
    """The sites that came low enough to be looked at one by one, and their bits."""
    least = np.where(bits > 0, bits, np.inf).min(axis=1, initial=np.inf)
    bounds = [
        max(HEADROOM, HEADROOM_CLOSING * RANGE.get(site.dtype, 0.0)) for site in sites
    ]
    for at in np.flatnonzero(least <= np.array(bounds)).tolist():
        yield sites[at], bits[at]


def _approach(run: Run, role: Role, site: Site, bits: Floats) -> _Approach | None:
    known = np.isfinite(bits) & (bits > 0)
    if not known.any() or (known.sum() > 1 and np.ptp(bits[known]) == 0):
        return None
    steps, left = run.recorded[known], bits[known]
    last = len(left) - 1
    at = int(left.argmin()) if left.min() < HEADROOM else last
    least, step = float(left[at]), int(steps[at])
    pace = _pace(steps, left) if at == last else 0.0
    near = least <= HEADROOM_CLOSING * RANGE[site.dtype]
    soon = near and pace > 0 and least / pace <= HEADROOM_SOON * (step + 1)
    if least >= HEADROOM and not soon:
        return None
    return _Approach(site, role, bits, least, step, pace)


def _pace(steps: Integers, bits: Floats) -> float:
    """Bits per step by which the headroom closes at the end, 0 if not steadily.

    The median of the slopes of all pairs of recorded steps; steadily if three quarters
    of them close.
    """
    count = min(max(10, tenth(len(steps))), len(steps))
    if count < 5:
        return 0.0
    steps, bits = steps[-count:], bits[-count:]
    first, second = np.triu_indices(count, 1)
    slopes = (bits[first] - bits[second]) / (steps[second] - steps[first])
    return float(np.median(slopes)) if np.quantile(slopes, 0.25) > 0 else 0.0


def _finding(run: Run, worst: _Approach, sites: tuple[Site, ...]) -> Finding:
    site, dtype = worst.site, worst.site.dtype
    low = np.nan_to_num(worst.headroom, nan=np.inf) < max(HEADROOM, worst.least + 1)
    steps = run.recorded[low]
    closing = worst.least >= HEADROOM
    what = _what(worst)
    evidence = Evidence(
        quantity=f"headroom of {what} in {dtype}, in bits",
        value=worst.least,
        threshold=HEADROOM_CLOSING * RANGE[dtype] if closing else HEADROOM,
        source="a quarter of the range" if closing else "a factor of 8",
    )
    pace = Evidence(quantity="closing pace in bits per step", value=worst.pace)
    return Finding(
        code="ND402",
        name="near_overflow",
        title=_title(worst, what),
        severity="info" if _is_sought(run, worst) else "warning",
        confidence=0.7 if closing else certainty(2 ** (HEADROOM - worst.least)),
        sites=(site, *(other for other in sites if other != site)),
        first_step=int(steps[0]),
        last_step=int(steps[-1]),
        evidence=(evidence, pace) if worst.pace else (evidence,),
        cause=_cause(worst),
        remedies=_remedies(worst),
        picture="headroom",
    )


def _what(worst: _Approach) -> str:
    """What came near overflow, in words."""
    site = worst.site
    if site.kind != "operation":
        return f"the {worst.role} of {name(site)}"
    place = f"{site.function} at {site.location}" if site.file else str(site)
    return place if worst.role == "value" else f"the derivative by what enters {place}"


def _title(worst: _Approach, what: str) -> str:
    """How far from overflow, when, how fast it closes, and where that would end."""
    dtype, wide = worst.site.dtype, worst.site.dtype in ("float32", "bfloat16")
    end = "overflow" if wide else f"the overflow of {dtype}"
    text = f"{what} was {number(worst.least)} bits from {end} at step {worst.step}"
    text = text[0].upper() + text[1:] if text.startswith("the ") else text
    if not worst.pace:
        return f"{text}."
    meets = worst.step + math.ceil(worst.least / worst.pace)
    return (
        f"{text}, closing {number(worst.pace)} bits a step; at this pace it overflows "
        f"at step {meets}."
    )


def _cause(worst: _Approach) -> str:
    site, exponent = worst.site, RANGE[worst.site.dtype] - worst.least
    end = f"where {site.dtype} ends at 2^{RANGE[site.dtype]:.0f}."
    if site.kind == "operation" and worst.role == "value":
        if site.function in _EXPONENTIALS:
            argument = exponent * math.log(2)
            return (
                f"Its argument reached {argument:.1f}, its result 2^{exponent:.1f}, "
                f"{end}"
            )
        if site.function in _POLES:
            return (
                f"What it is taken of came so near 0 that its result or its derivative "
                f"reached 2^{exponent:.1f}, {end}"
            )
        return f"Its result reached 2^{exponent:.1f}, {end}"
    return f"Its largest magnitude reached 2^{exponent:.1f}, {end}"


_EXPONENTIALS = {"exp", "expm1"}
_POLES = {"log", "log1p", "sqrt", "rsqrt", "div"}

_WIDER = "Compute this part in float32 or bfloat16, whose range is 2^128."
_GROW = "Lower the learning rate and clip the norm of the gradient."
_SHIFT = (
    "Subtract the maximum of the argument before the exponential, or use "
    "jax.nn.log_softmax or jax.nn.logsumexp, which do."
)
_LOGITS = (
    "Take log_softmax (log_sigmoid) of the logits in place of the logarithm of a "
    "probability, or keep the argument away from 0 (add 1e-7)."
)
_ROOT = "Keep what is rooted away from 0: add 1e-6 before the root."
_STABLE: dict[str, str] = {
    "exp": _SHIFT,
    "exp2": _SHIFT,
    "expm1": _SHIFT,
    "log": _LOGITS,
    "log1p": _LOGITS,
    "sqrt": _ROOT,
    "rsqrt": _ROOT,
    "div": "Keep what is divided by away from 0: add 1e-6 to its magnitude.",
}


def _remedies(worst: _Approach) -> tuple[str, ...]:
    site, float16 = worst.site, worst.site.dtype == "float16"
    if site.kind == "operation" and site.function in _STABLE:
        return (_STABLE[site.function], _WIDER if float16 else _GROW)
    if not float16:
        return (_GROW, "Scale the inputs and the initial weights to unit variance.")
    return ("Lower the loss scale.", _WIDER) if _is_backward(worst) else (_WIDER, _GROW)
