"""# ND102 dead_units

## What it measures

The share of units of a layer that pass nothing for every row of a batch (a relu whose
weighted sum is negative throughout), at each recorded step.

## Why it matters

A dead unit has the gradient 0 for every example, so nothing brings it back. The layer
is narrower than it looks; if all its units die, everything before it stops learning.

## When it fires

When half or more of a layer's units were dead in each recorded batch of the last
quarter of the run (at least three batches), each of 64 rows or more. It is an error
from 90 %. If the loss fell by half or more all the same it is told as information.

## What to do

Lower the learning rate; start biases at 0 and weights with He initialisation; use
leaky_relu, gelu or silu, which pass some gradient below zero.

## Known limits

The share per batch is known, not which units: other units could be silent in each
batch. With small batches, or in layers of rare detectors, a sound unit is often silent.

## References

- A. Maas et al., "Rectifier nonlinearities improve neural network acoustic models",
  ICML workshop 2013.
- L. Lu et al., "Dying ReLU and initialization", 2019 (arXiv:1903.06733).
"""  # noqa: D415 (the first line is a heading)

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from nndiag.records import Evidence, Finding, Run, Severity, Site
from nndiag.rules.functions import STEEPEST
from nndiag.rules.measures import Bools, at_any, certainty, first, learned_well
from nndiag.rules.thresholds import DEAD_ROWS, DEAD_SEVERE, DEAD_SHARE
from nndiag.rules.words import percent, places


def examine(run: Run) -> Iterator[Finding]:
    """One finding for all layers that are mostly dead at the end."""
    dead = {
        site: lasting
        for site in run.of_kind("activation")
        if (lasting := _lasting(run, site)) >= DEAD_SHARE
    }
    if not dead:
        return
    sites = tuple(dead)
    series = np.array([run.series("value", "dead_units", site) for site in sites])
    worst = max(dead.values())
    held = at_any(list(series >= DEAD_SHARE))
    begun = _since(held)
    born = bool(held[0]) and begun == 0
    rose = f"since step {run.recorded[begun]}"
    yield Finding(
        code="ND102",
        name="dead_units",
        title=f"{percent(worst)} of the units of {_worst(run, dead)} pass nothing on "
        f"any example, {'from the first step on' if born else rose}.",
        severity=_severity(run, worst),
        confidence=certainty(worst / DEAD_SHARE),
        sites=sites,
        first_step=int(run.recorded[begun]),
        last_step=int(run.recorded[held][-1]),
        evidence=(
            Evidence(
                quantity="share of units dead in every recorded batch at the end",
                value=worst,
                threshold=DEAD_SHARE,
                source="SageMaker Debugger DeadRelu; TheDeepChecker",
            ),
            Evidence(
                quantity="share of units dead at the first recorded step",
                value=max(first(row) for row in series),
            ),
        ),
        cause=f"The weighted sums of {places(run, sites)} start below zero for every "
        "example: the initial weights or biases, or the inputs, push them there."
        if born
        else "A step pushed the weighted sums below zero for every example, and a unit "
        "there has no gradient that could bring it back.",
        remedies=(
            "Start the biases at 0 and the weights with He initialisation."
            if born
            else "Lower the learning rate, or warm it up.",
            "Use leaky_relu, gelu or silu instead of relu.",
            "Clip the gradient norm.",
        ),
        picture="saturation",
    )


def _lasting(run: Run, site: Site) -> float:
    """Share of units dead in every batch of the last quarter, 0 if it cannot say."""
    series = run.series("value", "dead_units", site)
    known = series[~np.isnan(series)]
    rows = math.prod(site.shape[:-1])
    if site.function in STEEPEST or rows < DEAD_ROWS or known.size < 3:
        return 0.0
    return float(known[-max(3, known.size // 4) :].min())


def _since(held: Bools) -> int:
    """Start of the last unbroken stretch."""
    gaps = np.flatnonzero(~held[: held.nonzero()[0][-1]])
    return int(gaps[-1]) + 1 if gaps.size else 0


def _worst(run: Run, dead: dict[Site, float]) -> str:
    severe = tuple(s for s, share in dead.items() if share == max(dead.values()))
    return places(run, severe)


def _severity(run: Run, worst: float) -> Severity:
    if learned_well(run):
        return "info"
    return "error" if worst >= DEAD_SEVERE else "warning"
