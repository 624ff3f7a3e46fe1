"""# ND102 dead_units

## What it measures

The share of units of a layer that pass nothing for every row of a batch (a relu whose
weighted sum is negative throughout), at each recorded step.

## Why it matters

A dead unit has the gradient 0 for every example, so nothing brings it back. The layer
is narrower than it looks; if all its units die, everything before it stops learning.

## When it fires

When half or more of a layer's units were dead in each recorded batch of the last
quarter of the run (at least three batches), each of 64 rows or more. In batches of
fewer rows nine tenths must be dead, in all of the last batches of 512 rows together;
192 rows are enough if every unit is. It is an error from 90 %. If the loss fell by half
or more all the same it is told as information.

## What to do

Lower the learning rate; start biases at 0 and weights with He initialisation; use
leaky_relu, gelu or silu, which pass some gradient below zero.

## Known limits

Which units are dead is known at the level `full`; else only the share per batch, and
other units could be silent in each batch. In layers of rare detectors a sound unit is
often silent. A run of too few small batches is not judged.

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
from nndiag.rules.measures import Bools, at_any, certainty, first_column, learned_well
from nndiag.rules.thresholds import (
    DEAD_POOL,
    DEAD_POOL_FULL,
    DEAD_ROWS,
    DEAD_SEVERE,
    DEAD_SHARE,
)
from nndiag.rules.words import percent, places

_MOST_NAMED = 12


def examine(run: Run) -> Iterator[Finding]:
    """One finding for all layers that are mostly dead at the end."""
    dead = {
        site: lasting
        for site in run.of_kind("activation")
        if (lasting := _lasting(run, site)) >= _bound(site)
    }
    if not dead:
        return
    sites = tuple(dead)
    series = run.stacked("value", "dead_units", sites)
    worst = max(dead.values())
    bound = min(_bound(site) for site in sites)
    held = at_any(series >= bound)
    begun = _since(held)
    born = bool(held[0]) and begun == 0
    rose = f"since step {run.recorded[begun]}"
    yield Finding(
        code="ND102",
        name="dead_units",
        title=f"{percent(worst)} of the units of {_worst(run, dead)} pass nothing on "
        f"any example, {'from the first step on' if born else rose}.",
        severity=_severity(run, worst),
        confidence=certainty(worst / bound),
        sites=sites,
        first_step=int(run.recorded[begun]),
        last_step=int(run.recorded[held][-1]),
        evidence=(
            Evidence(
                quantity="share of units dead in every recorded batch at the end",
                value=worst,
                threshold=bound,
                source="SageMaker Debugger DeadRelu; TheDeepChecker",
            ),
            Evidence(
                quantity="share of units dead at the first recorded step",
                value=float(first_column(series).max()),
            ),
            *_silent(run, max(sites, key=dead.__getitem__)),
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
    if site.function in STEEPEST:
        return 0.0
    rows = max(1, _rows(site))
    full = known[-max(3, -(-DEAD_POOL_FULL // rows)) :].min(initial=1.0) == 1
    pool = DEAD_POOL_FULL if full or rows >= DEAD_ROWS else DEAD_POOL
    batches = max(3, known.size // 4, -(-pool // rows))
    return float(known[-batches:].min()) if known.size >= batches else 0.0


def _silent(run: Run, site: Site) -> Iterator[Evidence]:
    """The units that were dead in every batch whose units were stored."""
    stored = [
        array[1]
        for (_, quantity, where, _), array in run.vectors.items()
        if quantity == "units" and where == site
    ]
    if not stored or len({len(shares) for shares in stored}) > 1:
        return
    silent = np.flatnonzero((np.array(stored) == 1).all(0))
    shown = ", ".join(map(str, silent[:_MOST_NAMED].tolist()))
    more = ", …" if silent.size > _MOST_NAMED else ""
    yield Evidence(
        quantity=f"share of units dead in all of {len(stored)} stored batches"
        + (f", which are {shown}{more}" if silent.size else ""),
        value=silent.size / stored[0].size,
    )


def _rows(site: Site) -> int:
    """Rows of a batch: all axes but that of the units."""
    return math.prod(site.shape[:-1])


def _bound(site: Site) -> float:
    """The share that counts as dead: a small batch must show more."""
    return DEAD_SHARE if _rows(site) >= DEAD_ROWS else DEAD_SEVERE


def _since(held: Bools) -> int:
    """Start of the last unbroken stretch."""
    gaps = np.flatnonzero(~held[: held.nonzero()[0][-1]])
    return int(gaps[-1]) + 1 if gaps.size else 0


def _worst(run: Run, dead: dict[Site, float]) -> str:
    most = max(dead.values())
    return places(run, [site for site, share in dead.items() if share == most])


def _severity(run: Run, worst: float) -> Severity:
    if learned_well(run):
        return "info"
    return "error" if worst >= DEAD_SEVERE else "warning"
