"""# ND205 update_too_small

## What it measures

The update-to-weight ratio `‖Δw‖ / ‖w‖` of every weight matrix at every recorded step:
its upper decile over the steps after the first tenth, and the median of that over the
matrices.

## Why it matters

The ratio says by what share of themselves weights move in a step. At 1e-5 even a
hundred thousand steps in one direction only double them: training does not move.

## When it fires

When that ratio is below 1e-4, is not rising any more (warm-up), and the loss has not
fallen by a tenth of its early level. A run that converges, or whose schedule ends at
zero, takes tiny steps too, but after its loss fell.

## What to do

Raise the learning rate by a factor of ten, twice if need be, until the ratio is about
1e-3; check that the schedule does not start at zero or decay too early.

## Known limits

Fine-tuning with a tiny learning rate from an already low loss looks the same.
Parameters that do not change at all are left to ND203. Needs the `updates` part of the
watch.

## References

- A. Karpathy, CS231n, "Ratio of weights:updates".
- H. Ben Braiek, F. Khomh, "Testing feedforward neural networks training programs"
  (TheDeepChecker), TOSEM 2023.
"""  # noqa: D415 (the first line is a heading)

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nndiag.records import Evidence, Finding, Floats, Run
from nndiag.rules.measures import (
    certainty,
    guesses,
    learned,
    loss_levels,
    median,
    settled,
    update_ratios,
    weights,
)
from nndiag.rules.thresholds import UPDATE_SMALL
from nndiag.rules.words import number


def examine(run: Run) -> Iterator[Finding]:
    """At most one finding, on all weight matrices together."""
    sites = weights(run)
    ratios = update_ratios(run, sites)[:, settled(len(run.recorded)) :]
    moving = np.nan_to_num(ratios).max(axis=1, initial=0) > 0
    if not moving.any() or learned(run) or _rises(ratios[moving]):
        return
    deciles = _deciles(ratios[moving])
    typical = float(np.median(deciles))
    if not 0 < typical < UPDATE_SMALL:
        return
    small = tuple(
        site
        for site, decile in zip(np.array(sites, object)[moving], deciles, strict=True)
        if decile < UPDATE_SMALL
    )
    factor = 10 ** round(np.log10(10 * UPDATE_SMALL / typical))
    yield Finding(
        code="ND205",
        name="update_too_small",
        title=f"The updates are too small: a step changes the weights by "
        f"{number(typical)} of their size.",
        severity="warning",
        confidence=certainty(UPDATE_SMALL / typical),
        sites=small,
        first_step=int(run.recorded[0]),
        last_step=int(run.recorded[-1]),
        evidence=(
            Evidence(
                quantity="‖Δw‖/‖w‖ per step, upper decile of steps, median of matrices",
                value=typical,
                threshold=UPDATE_SMALL,
                source="TheDeepChecker: 1e-4 to 1e-1; rule of thumb 1e-3",
            ),
        ),
        cause="Learning rate times gradient is far below the size of the weights"
        f"{_loss(run)}.",
        remedies=(
            f"Raise the learning rate about {number(factor)} times, towards a ratio of "
            "1e-3.",
            "Use Adam, whose step does not shrink with the gradient.",
            "Check that the schedule does not decay too early.",
        ),
        picture="update",
    )


def _deciles(ratios: Floats) -> Floats:
    """The upper decile of each row, of what was measured."""
    deciles = np.quantile(ratios, 0.9, axis=1)
    gaps = np.isnan(ratios).any(axis=1)  # row by row, NumPy is slow
    deciles[gaps] = [np.nanquantile(row, 0.9) for row in ratios[gaps]]
    return deciles


def _loss(run: Run) -> str:
    """What the loss did meanwhile, as the end of a sentence; "" if unknown."""
    early, late = loss_levels(run)
    if not np.isfinite(run.loss).all() or np.isnan(early):
        return ""
    if late >= early:
        return ", and the loss has not fallen"
    levels = f"from {early:.4g} to {late:.4g}"
    if guesses(run, late):
        return f", and the loss has fallen {levels}, what a guess costs"
    return f", and the loss has hardly fallen, {levels}"


def _rises(ratios: Floats) -> bool:
    """Whether the last quarter of the steps moves twice as far as the first."""
    quarter = max(1, ratios.shape[1] // 4)
    early, late = ratios[:, :quarter], ratios[:, -quarter:]
    return median(late.ravel()) > 2 * median(early.ravel())
