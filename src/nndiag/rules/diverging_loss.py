"""# ND303 diverging_loss

## What it measures

The median of the loss over windows of a tenth of the run: the early level, the best,
and the last. The noise is the standard error of such a median, from the differences
between consecutive losses: `1.25 · (1.48·median|ΔL| / √2) / √window`.

## Why it matters

Training takes steps down the loss. If the loss rises for long, the steps are too long,
or they do not point down.

## When it fires

When the last level lies above the best one by all of: half of what the run had gained
(early − best); a tenth of the early level; and six standard errors. It is an error if
the last level is above the early one. A run that has converged wobbles by multiples of
its tiny loss, but never loses half of its gain.

## What to do

Lower the learning rate, or let it decay; clip the gradient; check the sign of the
update and of the loss.

## Known limits

Losses that may rise with good reason (adversarial, reinforcement, curricula) look the
same. Ten steps are needed. A loss that turns NaN without rising first is ND401.

## References

- H. Ben Braiek, F. Khomh, TheDeepChecker, TOSEM 2023: twice the minimum.
"""  # noqa: D415 (the first line is a heading)

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from nndiag.records import Evidence, Finding, Floats, Run
from nndiag.rules.measures import certainty, tenth
from nndiag.rules.thresholds import LOSS_NOISE, LOSS_RISE, LOSS_RISE_LEVEL
from nndiag.rules.words import number


def examine(run: Run) -> Iterator[Finding]:
    """At most one finding, on the whole run."""
    finite = np.isfinite(run.loss)
    loss, steps = run.loss[finite], run.steps[finite]
    if loss.size < 10:
        return
    window = tenth(loss.size)
    levels = _levels(loss, window)
    early, last = levels[0], levels[-1]
    at = _starts(loss, window)[int(levels.argmin())]
    best = levels.min()
    noise = (
        1.25 * 1.48 * float(np.median(np.abs(np.diff(loss)))) / math.sqrt(2 * window)
    )
    bounds = LOSS_RISE * (early - best), LOSS_RISE_LEVEL * abs(early)
    bound = max(*bounds, LOSS_NOISE * noise)
    rise = float(last - best)
    if rise <= bound or rise == 0:
        return
    yield Finding(
        code="ND303",
        name="diverging_loss",
        title=f"The loss diverges: it rose from {number(float(best))} near step "
        f"{steps[at + window // 2]} to {number(float(last))}.",
        severity="error" if last > early else "warning",
        confidence=certainty(rise / bound if bound else math.inf),
        sites=run.of_kind("logits"),
        first_step=int(steps[min(at + window, loss.size - 1)]),
        last_step=int(steps[-1]),
        evidence=(
            Evidence(
                quantity="rise of the loss above its best level",
                value=rise,
                threshold=float(bound),
                source="half of the gain, a tenth of the early level, 6 standard "
                "errors",
            ),
            Evidence(quantity="early level of the loss", value=float(early)),
        ),
        cause="The steps lead up the loss: they overshoot, or do not point down it.",
        remedies=(
            "Lower the learning rate by a factor of ten, or let it decay.",
            "Clip the norm of the gradient.",
            "Check the sign of the loss and of the update.",
        ),
        picture="loss",
    )


def _levels(loss: Floats, window: int) -> Floats:
    """Median over windows that overlap by three quarters; the last ends the run."""
    return np.array([np.median(loss[s : s + window]) for s in _starts(loss, window)])


def _starts(loss: Floats, window: int) -> tuple[int, ...]:
    last = loss.size - window
    return (*range(0, last, max(1, window // 4)), last)
