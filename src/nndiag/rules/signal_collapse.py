"""# ND103 signal_collapse

## What it measures

The standard deviation of every activation at the first recorded step, from the first
layer to the last: `std_last / std_first`, and the factor per layer,
`(std_last / std_first)^(1/(n−1))` for n layers.

## Why it matters

If each layer shrinks the signal by a constant factor, the last layers see the same
thing for every input, and the gradient shrinks on its way back just so. If each layer
amplifies it, outputs, loss and gradients start out huge.

## When it fires

When the last layer's standard deviation is a hundred times smaller or larger than the
first layer's at the start of the run, over three layers or more.

## What to do

Give the weights the scale at which each layer keeps the variance: standard deviation
√(2/fan_in) for relu (He), 1/√fan_in for tanh and the like (LeCun); or normalise.

## Known limits

The deviation over all elements is measured, units and examples together. In sigmoid
layers the differences between units stay while those between examples shrink, so that
this rule sees nothing: ND201 does. In residual networks some growth is normal.

## References

- K. He et al., "Delving deep into rectifiers", ICCV 2015.
- S. Schoenholz et al., "Deep information propagation", ICLR 2017.
"""  # noqa: D415 (the first line is a heading)

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nndiag.records import Evidence, Finding, Run
from nndiag.rules.functions import advice
from nndiag.rules.measures import certainty
from nndiag.rules.thresholds import DEPTH_LAYERS, DEPTH_RATIO
from nndiag.rules.words import number, places


def examine(run: Run) -> Iterator[Finding]:
    """At most one finding, on the initial weights."""
    if not len(run.recorded) or run.recorded[0] > 0:
        return
    start = {s: run.series("value", "std", s)[0] for s in run.of_kind("activation")}
    sites = tuple(site for site, std in start.items() if np.isfinite(std))
    if len(sites) < DEPTH_LAYERS or start[sites[0]] <= 0:
        return
    ratio = float(start[sites[-1]] / start[sites[0]])
    if DEPTH_RATIO < ratio < 1 / DEPTH_RATIO:
        return
    factor = ratio ** (1 / (len(sites) - 1))
    shrinks = ratio < 1
    verb = "shrinks" if shrinks else "grows"
    yield Finding(
        code="ND103",
        name="signal_collapse",
        title=f"The signal {verb} by a factor {number(factor)} per layer from "
        f"{places(run, sites)} at the initial weights.",
        severity="warning",
        confidence=certainty(DEPTH_RATIO * max(ratio, 1 / max(ratio, 1e-9))),
        sites=sites,
        first_step=int(run.recorded[0]),
        last_step=int(run.recorded[0]),
        evidence=(
            Evidence(
                quantity="standard deviation of the last layer over the first",
                value=ratio,
                threshold=DEPTH_RATIO if shrinks else 1 / DEPTH_RATIO,
                source="a hundredfold; measured on healthy runs: 0.05 to 5",
            ),
            Evidence(quantity="factor per layer", value=factor),
        ),
        cause=f"The initial weights are too {'small' if shrinks else 'wide'}: each "
        f"layer multiplies the standard deviation by {number(factor)} instead of 1.",
        remedies=(
            f"Use {advice(sites[0].function)}.",
            "Normalise between the layers (layer or batch norm).",
        ),
        picture="profile",
    )
