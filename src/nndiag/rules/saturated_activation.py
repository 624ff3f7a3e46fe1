"""# ND101 saturated_activation

## What it measures

For every activation that is flat on both sides (sigmoid, tanh, their hard forms,
softsign): the share of elements where the derivative is below 5 % of its peak, and the
mean derivative `mean |f′(z)|`. For the sigmoid, 5 % of the peak lies at |z| = 4.36, for
tanh at |z| = 2.18.

## Why it matters

The gradient of everything before the activation is multiplied by `f′(z)`. Where that
is nearly 0, the units before it receive next to no gradient and stop learning; what
they answer is a constant 0 or 1.

## When it fires

When 40 % or more of a layer's elements are saturated. The finding says since when:

- **from the input scale**: the first layer at the first recorded step, while the
  inputs are far from unit scale (ND701);
- **from the initial weights**: at the first recorded step, on sound inputs;
- **grown in training**: later, and still at the last recorded step.

It is told as information if the loss fell by half or more: a network that is sure of
its answer saturates.

## What to do

Scale the inputs to unit variance; give the weights the standard deviation 1/√fan_in
(LeCun, Glorot), so that z has unit variance; use relu in hidden layers; if saturation
grew, lower the learning rate or decay the weights.

## Known limits

Functions that are flat on one side only (relu, gelu, silu, softplus) are left to
ND102: half of their elements being flat is their normal state. Recurrent gates may
saturate on purpose.

## References

- X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward
  neural networks", AISTATS 2010.
- Y. LeCun et al., "Efficient BackProp", 1998.
"""  # noqa: D415 (the first line is a heading)

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from nndiag.records import Evidence, Finding, Run, Site
from nndiag.rules import input_scale
from nndiag.rules.functions import STEEPEST, advice
from nndiag.rules.measures import (
    Bools,
    at_any,
    certainty,
    learned_well,
    median,
    share,
    span,
)
from nndiag.rules.thresholds import SATURATED_SHARE
from nndiag.rules.words import number, percent, places

Onset = Literal["input", "weights", "training"]


def examine(run: Run) -> Iterator[Finding]:
    """One finding for each onset that was seen."""
    groups: dict[Onset, list[Site]] = {}
    for site in run.of_kind("activation"):
        onset = _onset(run, site)
        if onset is not None:
            groups.setdefault(onset, []).append(site)
    for onset, sites in groups.items():
        yield _finding(run, onset, tuple(sites))


def saturated(run: Run, site: Site) -> Bools:
    """At which recorded steps an activation was saturated, shape (R,)."""
    if site.function not in STEEPEST:
        return np.zeros(len(run.recorded), np.bool_)
    return run.series("value", "saturated", site) >= SATURATED_SHARE


def _onset(run: Run, site: Site) -> Onset | None:
    held = saturated(run, site)
    if not held.any():
        return None
    if held[0]:
        first = site == run.of_kind("activation")[0]
        return "input" if first and input_scale.too_large(run) else "weights"
    return "training" if held[-1] else None


def _finding(run: Run, onset: Onset, sites: tuple[Site, ...]) -> Finding:
    function = sites[0].function
    steepest = STEEPEST[function]
    saturation = run.stacked("value", "saturated", sites)
    slope = run.stacked("value", "slope", sites)
    held = at_any(saturation >= SATURATED_SHARE)
    first, last = span(run, held)
    at = last if onset == "training" else first
    column = int(np.searchsorted(run.recorded, at))
    most, flat = median(saturation[:, column]), median(slope[:, column])
    worst = sites[int(np.nan_to_num(saturation[:, column], nan=-1.0).argmax())]
    where = places(run, sites, worst)
    among = ", median of layers" if len(sites) > 1 else ""
    since = _SINCE[onset].format(at=at, first=first)
    return Finding(
        code="ND101",
        name="saturated_activation",
        title=f"{percent(most)} of {where} is saturated {since}.",
        severity="info" if learned_well(run) else "warning",
        confidence=certainty(
            most / SATURATED_SHARE, share(held, at_any(~np.isnan(saturation)))
        ),
        sites=(*run.of_kind("input"), *sites) if onset == "input" else sites,
        first_step=first,
        last_step=last,
        evidence=(
            Evidence(
                quantity=f"share of elements saturated at step {at}{among}",
                value=most,
                threshold=SATURATED_SHARE,
                source="measured; SageMaker Debugger uses 0.5",
            ),
            Evidence(
                quantity=f"mean slope of {function} at step {at}; at most "
                f"{number(steepest)}",
                value=flat,
            ),
        ),
        cause=f"{_CAUSE[onset]} The mean slope of {function} there is {number(flat)} "
        f"against at most {number(steepest)}.",
        remedies=_remedies(onset, function),
        picture="saturation",
    )


_SINCE: dict[Onset, str] = {
    "input": "already at step {at}, by the scale of the inputs",
    "weights": "already at step {at}, by the initial weights",
    "training": "at step {at}, which began at step {first}",
}

_CAUSE: dict[Onset, str] = {
    "input": "The inputs are so large that the first weighted sums start on the flat "
    "parts of the function.",
    "weights": "The initial weights are so wide that the weighted sums start on the "
    "flat parts of the function.",
    "training": "The weights grew in training until the weighted sums reached the "
    "flat parts of the function.",
}


def _remedies(onset: Onset, function: str) -> tuple[str, ...]:
    start = f"Use {advice(function)}."
    relu = "Use relu with He initialisation in the hidden layers."
    if onset == "input":
        return ("Scale the inputs to mean 0 and standard deviation 1.", start, relu)
    if onset == "weights":
        return (start, relu, "Normalise before the activation (layer or batch norm).")
    return (
        "Lower the learning rate.",
        "Add weight decay.",
        "Normalise before the activation (layer or batch norm).",
    )
