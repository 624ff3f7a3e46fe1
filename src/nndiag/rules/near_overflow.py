"""# ND402 near_overflow

## What it measures

The headroom of every recorded array: `log2(max of its dtype) − log2(max|x|)`, in bits;
and how fast it closes, in bits per step, over the last quarter of the recorded steps.
float32 and bfloat16 end at 2^128, float16 at 2^16, float64 at 2^1024.

## Why it matters

At 0 bits the value is infinite, and NaN one operation later. Squares, as in norms and
variances, overflow at half of the range already.

## When it fires

When less than 3 bits are left; or when no more than a quarter of the type's range is
left, the headroom has closed steadily, and at that speed it would be used up within a
tenth of the steps taken so far. A magnitude that never changes (the constant of an
attention mask) is no approach and is left out.

## What to do

Lower the learning rate if weights or activations grow; compute in float32 or bfloat16
what overflows in float16; lower the loss scale if only gradients are close; use stable
forms (`log_softmax`, `logsumexp`).

## Known limits

What lives only inside a fused operation is not seen. Dynamic loss scaling drives
float16 gradients to the edge on purpose.

## References

- P. Micikevicius et al., "Mixed precision training", ICLR 2018.
- IEEE 754-2019.
"""  # noqa: D415 (the first line is a heading)

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from nndiag.records import Evidence, Finding, Floats, Integers, Role, Run, Site
from nndiag.rules.measures import certainty
from nndiag.rules.thresholds import HEADROOM, HEADROOM_CLOSING
from nndiag.rules.words import name, number

RANGE: dict[str, float] = {
    name: float(np.log2(float(np.finfo(name).max)))
    for name in ("float16", "float32", "float64")
} | {"bfloat16": float(np.log2((2 - 2**-7) * 2.0**127))}
"""log2 of the largest finite number, by dtype, in bits.

NumPy does not know bfloat16: 8 bits of exponent, 7 of mantissa."""


class _Approach(NamedTuple):
    site: Site
    role: Role
    headroom: Floats
    least: float
    speed: float
    steps_left: float


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
        for site in run.sites
        if (approach := _approach(run, role, site)) is not None
    ]
    if not near:
        return
    worst = min(near, key=lambda approach: approach.least)
    yield _finding(run, worst, tuple(dict.fromkeys(a.site for a in near)))


def headroom(run: Run, role: Role, site: Site) -> Floats:
    """Bits between the largest magnitude and the limit of the type, shape (R,).

    Where the largest magnitude was not measured (of large arrays in a type of wide
    range) the norm stands in, which is at least as large: a lower bound.

    NaN where neither was measured, where the value is not finite any more, or where
    the dtype is not a floating-point type of `RANGE`.
    """
    largest = run.series(role, "largest", site)
    largest = np.where(np.isnan(largest), run.series(role, "norm", site), largest)
    bits = np.full(largest.shape, np.nan)
    usable = np.isfinite(largest) & (largest > 0)
    bits[usable] = RANGE.get(site.dtype, np.nan) - np.log2(largest[usable])
    return bits


def _approach(run: Run, role: Role, site: Site) -> _Approach | None:
    bits = headroom(run, role, site)
    known = np.isfinite(bits)
    if not known.any() or (known.sum() > 1 and np.ptp(bits[known]) == 0):
        return None
    speed = _speed(run.recorded[known], bits[known])
    last, least = float(bits[known][-1]), float(bits[known].min())
    left = last / speed if speed > 0 else np.inf
    taken = int(run.recorded[known][-1]) + 1
    soon = last <= HEADROOM_CLOSING * RANGE[site.dtype] and left <= taken / 10
    if least >= HEADROOM and not soon:
        return None
    return _Approach(site, role, bits, least, speed, left)


def _speed(steps: Integers, bits: Floats) -> float:
    """Bits per step by which the headroom closes at the end, 0 if not steadily."""
    count = max(5, len(steps) // 4)
    steps, bits = steps[-count:], bits[-count:]
    if len(steps) < 5 or not (np.diff(bits) < 0).all():
        return 0.0
    return float((bits[0] - bits[-1]) / (steps[-1] - steps[0]))


def _finding(run: Run, worst: _Approach, sites: tuple[Site, ...]) -> Finding:
    site, dtype = worst.site, worst.site.dtype
    low = np.nan_to_num(worst.headroom, nan=np.inf) < max(HEADROOM, worst.least + 1)
    steps = run.recorded[low]
    closing = worst.least >= HEADROOM
    what = "value" if worst.role == "value" else worst.role
    left = f", {number(worst.steps_left)} steps at this speed" if closing else ""
    evidence = Evidence(
        quantity=f"headroom of the {what} of {name(site)} in {dtype}, in bits",
        value=worst.least,
        threshold=HEADROOM_CLOSING * RANGE[dtype] if closing else HEADROOM,
        source="a quarter of the range" if closing else "a factor of 8",
    )
    speed = Evidence(quantity="closing speed in bits per step", value=worst.speed)
    return Finding(
        code="ND402",
        name="near_overflow",
        title=f"The {what} of {name(site)} is {number(worst.least)} bits from the "
        f"overflow of {dtype}{left}.",
        severity="warning",
        confidence=0.7 if closing else certainty(2 ** (HEADROOM - worst.least)),
        sites=sites,
        first_step=int(steps[0]),
        last_step=int(steps[-1]),
        evidence=(evidence, speed) if worst.speed else (evidence,),
        cause=f"Its largest magnitude reached 2^{RANGE[dtype] - worst.least:.1f}, "
        f"where {dtype} ends at 2^{RANGE[dtype]:.0f}.",
        remedies=_remedies(worst),
        picture="headroom",
    )


def _remedies(worst: _Approach) -> tuple[str, ...]:
    wider = "Compute this part in float32 or bfloat16, whose range is 2^128."
    scale = "Lower the loss scale."
    grow = "Lower the learning rate and clip the norm of the gradient."
    if worst.site.dtype != "float16":
        return (grow, "Scale the inputs and the initial weights to unit variance.")
    return (scale, wider) if worst.role in ("cotangent", "gradient") else (wider, grow)
