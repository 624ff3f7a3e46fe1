"""# ND206 update_too_large

## What it measures

The update-to-weight ratio `‖Δw‖ / ‖w‖` of every weight matrix at every recorded step,
as the median over the matrices; of that, the median over the steps after the first
tenth, and the largest.

## Why it matters

A step that changes the weights by a tenth of their size leaves the region in which the
gradient was worth following; one of half their size throws away what was there. Units
die or saturate, the loss jumps or diverges.

## When it fires

- When the median over the steps is above 0.1, that is, it lasts.
- When a single recorded step is above 0.5 and the loss has not fallen by a tenth of
  its early level since: networks are often destroyed by their very first step, and lie
  still afterwards.

It is an error if the loss has not fallen, information if it fell by half.

## What to do

Lower the learning rate towards a ratio of 1e-3; warm it up; clip the norm of the
gradient.

## Known limits

Weights that start at zero have no ratio in their first step, which is skipped. Needs
the `updates` part of the watch.

## References

- A. Karpathy, CS231n, "Ratio of weights:updates".
- H. Ben Braiek, F. Khomh, "Testing feedforward neural networks training programs"
  (TheDeepChecker), TOSEM 2023.
"""  # noqa: D415 (the first line is a heading)

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nndiag.records import Evidence, Finding, Floats, Run, Severity
from nndiag.rules.measures import (
    certainty,
    learned,
    learned_well,
    median,
    median_of_rows,
    settled,
    share,
    update_ratios,
    weights,
)
from nndiag.rules.thresholds import UPDATE_LARGE, UPDATE_OVERTURN
from nndiag.rules.words import number


def examine(run: Run) -> Iterator[Finding]:
    """At most one finding, on all weight matrices together."""
    by_step = median_of_rows(update_ratios(run, weights(run)))
    if np.isnan(by_step).all():
        return
    lasting = median(by_step[settled(len(by_step)) :])
    if lasting > UPDATE_LARGE:
        yield _finding(run, by_step, UPDATE_LARGE, lasting, "over the run")
    elif np.nanmax(by_step) > UPDATE_OVERTURN and not learned(run):
        worst = int(np.nanargmax(by_step))
        when = f"at step {run.recorded[worst]}"
        yield _finding(run, by_step, UPDATE_OVERTURN, float(by_step[worst]), when)


def _finding(
    run: Run, by_step: Floats, threshold: float, value: float, when: str
) -> Finding:
    held = by_step > threshold
    steps = run.recorded[held]
    factor = 10 ** round(np.log10(value / 1e-3))
    return Finding(
        code="ND206",
        name="update_too_large",
        title=f"The updates are too large: a step changes the weights by "
        f"{number(value)} of their size {when}.",
        severity=_severity(run),
        confidence=certainty(
            value / threshold,
            share(held, ~np.isnan(by_step)) if threshold == UPDATE_LARGE else 1.0,
        ),
        sites=weights(run),
        first_step=int(steps[0]),
        last_step=int(steps[-1]),
        evidence=(
            Evidence(
                quantity=f"‖Δw‖/‖w‖ per step, median of matrices, {when}",
                value=value,
                threshold=threshold,
                source="TheDeepChecker: 1e-4 to 1e-1"
                if threshold == UPDATE_LARGE
                else "half of the weights; measured: at most 0.13 on healthy runs",
            ),
        ),
        cause="The learning rate is too high for these gradients: a step leaves the "
        "region in which the gradient holds.",
        remedies=(
            f"Lower the learning rate up to {number(factor)} times, towards a ratio of "
            "1e-3.",
            "Warm the learning rate up over the first few hundred steps.",
            "Clip the norm of the gradient.",
        ),
        picture="update",
    )


def _severity(run: Run) -> Severity:
    if learned_well(run):
        return "info"
    return "warning" if learned(run) or not len(run.loss) else "error"
