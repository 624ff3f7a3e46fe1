"""# ND201 vanishing_gradient

## What it measures

The norm of the derivative of the loss by each activation (the *cotangent*), from the
first layer to the last: `ratio = ‖∂L/∂a_first‖ / ‖∂L/∂a_last‖` at each recorded step,
and the factor per layer, `ratio^(1/(n−1))` for n layers. Where the widths differ, the
ratio of root mean squares is taken if it is nearer to 1. Without cotangents, the
gradients of the weight matrices stand in.

## Why it matters

A layer learns in proportion to its gradient. If the gradient shrinks by a constant
factor per layer, the first layers stay as they were initialised, and the last ones
learn on top of random features; deep enough, nothing learns.

For a sigmoid the derivative is at most 1/4, so that each layer of depth passes on at
best a quarter, unless the weights make up for it: ten layers, a millionth.

## When it fires

When the median ratio over the recorded steps is below 0.03, over three layers or more.
It is an error below 1/1000, or when the loss has not fallen by a tenth of its early
level, else a warning; it is information where the loss fell by half. Being a ratio
within one step, it is not moved by the scale of the loss, nor by convergence.

## What to do

Replace sigmoid by relu with He initialisation, or by tanh with LeCun initialisation;
shorten the network; add residual connections or normalisation. A larger learning rate
does not help: it moves the last layers too far before the first ones move.

## Known limits

An optimizer that scales each parameter by its own gradient (Adam) hides much of the
effect on the first layers; the finding stands as long as the loss does not fall.
A first layer that is truly irrelevant to the loss looks the same.

## References

- S. Hochreiter, "Untersuchungen zu dynamischen neuronalen Netzen", 1991.
- X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward
  neural networks", AISTATS 2010.
- X. Zhang et al., "AutoTrainer", ICSE 2021.
"""  # noqa: D415 (the first line is a heading)

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nndiag.records import Evidence, Finding, Run, Severity, Site
from nndiag.rules.depth import Profile, gradient_profile
from nndiag.rules.functions import STEEPEST
from nndiag.rules.measures import (
    certainty,
    first_column,
    learned,
    learned_well,
    median,
    share,
)
from nndiag.rules.saturated_activation import saturated
from nndiag.rules.thresholds import SEVERE_DEPTH_RATIO, VANISHING_RATIO
from nndiag.rules.words import number, percent, places


def examine(run: Run) -> Iterator[Finding]:
    """At most one finding, on the whole depth."""
    profile = gradient_profile(run)
    if profile is None:
        return
    ratio, held = median(profile.ratio), profile.ratio < VANISHING_RATIO
    if not ratio < VANISHING_RATIO:
        return
    steadiness = share(held, ~np.isnan(profile.ratio))
    factor = profile.per_layer(ratio)
    ends = places(run, profile.sites[:1]), places(run, profile.sites[-1:])
    steps = run.recorded[held]
    yield Finding(
        code="ND201",
        name="vanishing_gradient",
        title=f"The gradient vanishes towards the input: {ends[0]} gets "
        f"{_fraction(ratio)} of what {ends[1]} gets.",
        severity=_severity(run, ratio),
        confidence=certainty(VANISHING_RATIO / max(ratio, 1e-30), steadiness),
        sites=profile.sites,
        first_step=int(steps[0]),
        last_step=int(steps[-1]),
        evidence=(
            Evidence(
                quantity=f"gradient norm of {ends[0]} over {ends[1]}, median of steps",
                value=ratio,
                threshold=VANISHING_RATIO,
                source="measured: above 1 on healthy runs; AutoTrainer uses 1e-3",
            ),
            Evidence(quantity="factor per layer", value=factor),
            *_slopes(run, profile),
        ),
        cause=_cause(run, profile, factor),
        remedies=_remedies(run, profile),
        picture="profile",
    )


def _severity(run: Run, ratio: float) -> Severity:
    if learned_well(run):
        return "info"
    severe = ratio < SEVERE_DEPTH_RATIO or (len(run.loss) > 0 and not learned(run))
    return "error" if severe else "warning"


def _fraction(ratio: float) -> str:
    return f"1/{number(1 / ratio)}" if ratio > 1e-30 else "nothing"


def _activations(run: Run, profile: Profile) -> tuple[Site, ...]:
    """The activations within the profile that cap the gradient, such as sigmoids."""
    own = [site for site in profile.sites if site.kind == "activation"]
    return tuple(s for s in own or run.of_kind("activation") if s.function in STEEPEST)


def _slope(run: Run, sites: tuple[Site, ...]) -> float:
    """Geometric mean, over the sites, of the mean slope at the first recorded step."""
    slopes = first_column(run.stacked("value", "slope", sites))
    usable = slopes[slopes > 0]
    return float(np.exp(np.log(usable).mean())) if usable.size else float("nan")


def _slopes(run: Run, profile: Profile) -> Iterator[Evidence]:
    sites = _activations(run, profile)
    slope = _slope(run, sites)
    if np.isfinite(slope):
        yield Evidence(
            quantity=f"mean slope of {sites[0].function} at step {run.recorded[0]}; "
            f"at most {number(STEEPEST[sites[0].function])}",
            value=slope,
        )


def _cause(run: Run, profile: Profile, factor: float) -> str:
    """What the depth multiplies by, and what was saturated before training began."""
    capped = _activations(run, profile)
    slope = _slope(run, capped)
    if not np.isfinite(slope):
        return (
            f"Each layer multiplies the gradient by {number(factor)}: its initial "
            "weights are too small, or most of its units pass nothing."
        )
    steepest = STEEPEST[capped[0].function]
    function = capped[0].function
    # A layer passes on slope times gain of its weights: the smaller one is the cause.
    if slope > factor / slope and steepest == 1:
        return (
            f"Each layer multiplies the gradient by {number(factor)} while {function} "
            f"passes {number(slope)} of it: the weights are too small and multiply it "
            f"by {number(factor / slope)}."
        )
    flat = tuple(site for site in capped if saturated(run, site)[:1].any())
    if not flat:
        return _depth(function, slope, steepest, factor)
    most = np.median(first_column(run.stacked("value", "saturated", flat)))
    flattest = _slope(run, flat)
    beginning = (
        f"{percent(float(most))} of {places(run, flat)} sat where the slope of "
        f"{function} is nearly 0 already at step {run.recorded[0]} (mean slope "
        f"{number(flattest)} against at most {number(steepest)})."
    )
    return f"{beginning} {_depth(function, slope, steepest, factor)}"


def _depth(function: str, slope: float, steepest: float, factor: float) -> str:
    best = f"at best {number(steepest)}" if steepest < 1 else "at best all"
    return (
        f"By the slope of {function} alone, each layer of depth passes on {best} of "
        f"the gradient; measured: a mean slope of {number(slope)}, and a factor "
        f"{number(factor)} per layer together with the weights."
    )


def _remedies(run: Run, profile: Profile) -> tuple[str, ...]:
    shorten = "Use fewer layers, or add residual connections or layer normalisation."
    capped = _activations(run, profile)
    if not capped:
        return (
            "Use He initialisation (standard deviation √(2/fan_in)).",
            shorten,
        )
    wide = any(saturated(run, site)[:1].any() for site in capped)
    lecun = "LeCun initialisation (standard deviation 1/√fan_in)"
    if STEEPEST[capped[0].function] == 1:
        return (f"Use {lecun}.", "Use relu with He initialisation.", shorten)
    return (
        "Use relu with He initialisation in the hidden layers"
        + (" in place of the wide initial weights." if wide else "."),
        f"Use tanh, whose slope reaches 1, with {lecun}.",
        shorten,
    )
