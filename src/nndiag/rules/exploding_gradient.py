"""# ND202 exploding_gradient

## What it measures

- **In time**: the norm of the whole gradient, `√Σ‖∂L/∂w‖²` over the parameters,
  against its first reading above zero.
- **In depth**: the norm of the cotangent of the first layer over that of the last.

## Why it matters

A gradient that grows a hundredfold makes steps a hundred times too long: the weights
are thrown far away, the loss jumps, and the run ends in NaN. A gradient that grows
from layer to layer towards the input lets no learning rate suit both ends.

## When it fires

- In time: when the norm exceeds 100 times its first reading while the loss is above its
  own early level. Growth while the loss falls, as when a plateau is left, is sound. If
  the run recovers and learns, it is told as information.
- In depth: when the median ratio over the recorded steps is above 100, over three
  layers or more.

## What to do

Lower the learning rate or warm it up; clip the norm of the gradient; reduce the
initial weights (He for relu, LeCun for tanh); scale the inputs.

## Known limits

Only recorded steps are seen: a single exploding step between them shows in the loss
alone (ND303, ND401).

## References

- R. Pascanu et al., "On the difficulty of training recurrent neural networks",
  ICML 2013.
"""  # noqa: D415 (the first line is a heading)

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nndiag.records import Evidence, Finding, Run, Site
from nndiag.rules.depth import gradient_profile
from nndiag.rules.functions import advice
from nndiag.rules.measures import (
    Bools,
    certainty,
    first,
    gradient_norm,
    learned,
    loss_levels,
    median,
    share,
    span,
)
from nndiag.rules.thresholds import DEPTH_RATIO, GRADIENT_GROWTH
from nndiag.rules.words import number, places


def examine(run: Run) -> Iterator[Finding]:
    """Up to two findings: growth in time, growth in depth."""
    yield from _in_time(run)
    yield from _in_depth(run)


def _in_time(run: Run) -> Iterator[Finding]:
    norm = gradient_norm(run)
    base = first(norm[norm > 0])
    if not np.isfinite(base):
        return
    growth = norm / base
    held = (growth > GRADIENT_GROWTH) & _above_early_loss(run)
    if not held.any():
        return
    begun, last = span(run, held)
    most = float(np.max(growth[held]))
    yield Finding(
        code="ND202",
        name="exploding_gradient",
        title=f"The gradient explodes: at step {begun} its norm is "
        f"{number(float(growth[held][0]))} times what it was at first.",
        severity="info" if learned(run) else "error",
        confidence=certainty(most / GRADIENT_GROWTH),
        sites=_steepest(run, begun),
        first_step=begun,
        last_step=last,
        evidence=(
            Evidence(
                quantity="norm of the gradient over its first reading, at most",
                value=most,
                threshold=GRADIENT_GROWTH,
                source="measured: at most 27 on healthy runs",
            ),
            Evidence(quantity="first reading of the norm", value=base),
        ),
        cause="The gradient grew while the loss was above its early level: the steps "
        "throw the weights to where the loss is steeper still.",
        remedies=(
            "Lower the learning rate by a factor of ten, or warm it up.",
            "Clip the norm of the gradient at a few times its first value, "
            f"{number(base)}.",
            "Scale the inputs to unit variance, and use the initialisation that suits "
            "the activation.",
        ),
        picture="gradient",
    )


def _above_early_loss(run: Run) -> Bools:
    """Recorded steps whose loss is above the early level, or unknown; shape (R,)."""
    early = loss_levels(run)[0]
    if np.isnan(early):
        early = first(run.loss)
    by_step = dict(zip(run.steps.tolist(), run.loss.tolist(), strict=True))
    loss = np.array([by_step.get(step, np.nan) for step in run.recorded.tolist()])
    return ~(loss <= early)


def _steepest(run: Run, step: int) -> tuple[Site, ...]:
    """The parameter with the largest gradient at a recorded step."""
    at = int(np.searchsorted(run.recorded, step))
    norms = {p: run.series("gradient", "norm", p)[at] for p in run.of_kind("parameter")}
    finite = {site: norm for site, norm in norms.items() if np.isfinite(norm)}
    return (max(finite, key=lambda site: finite[site]),) if finite else ()


def _in_depth(run: Run) -> Iterator[Finding]:
    profile = gradient_profile(run)
    if profile is None:
        return
    ratio, held = median(profile.ratio), profile.ratio > 1 / DEPTH_RATIO
    if not ratio > 1 / DEPTH_RATIO:
        return
    begun, last = span(run, held)
    ends = places(run, profile.sites[:1]), places(run, profile.sites[-1:])
    factor = profile.per_layer(ratio)
    function = next((s.function for s in run.of_kind("activation")), "")
    yield Finding(
        code="ND202",
        name="exploding_gradient",
        title=f"The gradient explodes towards the input: {ends[0]} gets "
        f"{number(ratio)} times what {ends[1]} gets.",
        severity="info" if learned(run) else "error",
        confidence=certainty(
            ratio * DEPTH_RATIO, share(held, ~np.isnan(profile.ratio))
        ),
        sites=profile.sites,
        first_step=begun,
        last_step=last,
        evidence=(
            Evidence(
                quantity=f"gradient norm of {ends[0]} over {ends[1]}, median of steps",
                value=ratio,
                threshold=1 / DEPTH_RATIO,
                source="a hundredfold",
            ),
            Evidence(quantity="factor per layer", value=factor),
        ),
        cause=f"The weights are too wide: each layer multiplies the gradient by "
        f"{number(factor)} on its way back.",
        remedies=(
            f"Use {advice(function)}.",
            "Normalise between the layers (layer or batch norm).",
            "Clip the norm of the gradient.",
        ),
        picture="profile",
    )
