"""What several rules measure in the same way. NaN is "not measured" throughout."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from nndiag.records import Floats, Run, Site
from nndiag.rules.thresholds import LEARNED, LEARNED_WELL

Bools = NDArray[np.bool_]
Item = TypeVar("Item")

_AT_ONCE = 1 << 21
"""Numbers to work on at once: 16 MiB, however many sites there are."""


def median(series: Floats) -> float:
    """The median of what was measured, NaN if nothing was."""
    known = series[~np.isnan(series)]
    return float(np.median(known)) if known.size else float("nan")


def first(series: Floats) -> float:
    """The first measured value, NaN if there is none."""
    known = series[~np.isnan(series)]
    return float(known[0]) if known.size else float("nan")


def tenth(length: int) -> int:
    """Length of the early or late window of a series: a tenth, at least 3."""
    return max(3, length // 10)


def at_any(held: Bools) -> Bools:
    """Steps at which it held in any of the rows."""
    return np.logical_or.reduce(held, axis=0, dtype=np.bool_)


def was_measured(rows: Floats) -> Bools:
    """Which rows hold any number, shape (rows,)."""
    return np.logical_or.reduce(~np.isnan(rows), axis=1, dtype=np.bool_)


def span(run: Run, held: Bools) -> tuple[int, int]:
    """First and last recorded step at which something held."""
    steps = run.recorded[held]
    return int(steps[0]), int(steps[-1])


def settled(length: int) -> int:
    """Number of recorded steps to skip at the start: a tenth, at least one."""
    return max(1, length // 10)


def share(held: Bools, measured: Bools) -> float:
    """Share of the measured steps at which something held, 0 if none was measured."""
    return float(held.sum() / measured.sum()) if measured.any() else 0.0


def certainty(beyond: float, steadiness: float = 1.0) -> float:
    """Confidence from how far and how steadily a threshold was crossed.

    c = s · (1 − 2^−(1+d)) with d = log₂(beyond): at the threshold half of s, twice as
    far three quarters of it, and so on.

    Args:
        beyond: the value over the threshold (or its inverse for a lower bound), ≥ 1.
        steadiness: share s of the recorded steps at which it held.

    Example:
        >>> certainty(1.0), certainty(2.0), certainty(4.0, steadiness=0.5)
        (0.5, 0.75, 0.4375)
    """
    return steadiness * (1 - 0.5 / max(beyond, 1.0))


def loss_levels(run: Run) -> tuple[float, float]:
    """Early and late level of the finite losses.

    The late level is the median of the last tenth. The early one is the first loss or
    the median of the first tenth, whichever is lower: a run that jumps up in its first
    steps and comes back has not learned. NaN and NaN below 6 finite losses.
    """
    loss = run.loss[np.isfinite(run.loss)]
    if loss.size < 6:
        return float("nan"), float("nan")
    window = tenth(loss.size)
    early = min(float(loss[0]), float(np.median(loss[:window])))
    return early, float(np.median(loss[-window:]))


def guesses(run: Run, loss: float) -> bool:
    """Whether a loss is about ln C, what a guess with equal odds for C classes costs.

    Within `LEARNED` of it; never if the number of classes is not known.
    """
    logits = run.of_kind("logits")
    if len(logits) != 1 or logits[0].shape[-1:] < (2,):
        return False
    return abs(loss / math.log(logits[0].shape[-1]) - 1) <= LEARNED


def learned(run: Run, fall: float = LEARNED) -> bool:
    """Whether the loss stayed finite and fell by this share of its early level.

    A fall down to what a guess costs does not count: it unlearns wide initial logits.
    """
    early, late = loss_levels(run)
    fell = early - late > fall * abs(early) and not guesses(run, late)
    return bool(np.isfinite(run.loss).all() and fell)


def learned_well(run: Run) -> bool:
    """Whether the loss fell by half or more."""
    return learned(run, LEARNED_WELL)


def recovered(run: Run) -> bool:
    """Whether the run got over recorded steps that were not finite.

    The loss was finite throughout, and the last recorded step is: so does dynamic loss
    scaling, which skips a step whose gradient overflows.
    """
    if run.finite.all() or not run.finite[-1]:
        return False
    return bool(np.isfinite(run.loss).all())


def weights(run: Run) -> tuple[Site, ...]:
    """Parameters of two axes or more; all parameters if there is no such one.

    Biases start at zero, so that any update of theirs is infinitely large in ratio.
    """
    parameters = run.of_kind("parameter")
    return tuple(p for p in parameters if len(p.shape) >= 2) or parameters


def update_ratios(run: Run, sites: Sequence[Site]) -> Floats:
    """‖Δw‖ / ‖w‖ of each parameter at each recorded step, shape (parameters, R).

    NaN where either was not measured or is not finite, or the weights are all zero.
    """
    update = run.stacked("update", "norm", sites)
    size = run.stacked("parameter", "norm", sites)
    usable = np.isfinite(update) & np.isfinite(size) & (size > 0)
    return np.divide(update, size, out=np.full_like(size, np.nan), where=usable)


def median_of_rows(rows: Floats) -> Floats:
    """Median over the first axis at each step, NaN where nothing was measured."""
    medians = np.full(rows.shape[1:], np.nan)
    measured = at_any(~np.isnan(rows))
    medians[measured] = np.nanmedian(rows[:, measured], axis=0)
    return medians


def gradient_norm(run: Run) -> Floats:
    """Norm of the whole gradient, √Σ‖∂L/∂w‖² over the parameters, shape (R,)."""
    norms = run.stacked("gradient", "norm", run.of_kind("parameter"))
    measured = norms[was_measured(norms)]
    if not len(measured):
        return np.full(run.recorded.shape, np.nan)
    return np.sqrt(np.sum(np.square(measured), axis=0))


def medians(rows: Floats) -> Floats:
    """The `median` of each row, shape (rows,)."""
    counts = (~np.isnan(rows)).sum(axis=1)
    ordered = np.sort(rows, axis=1)  # NaN last
    middle = np.full(len(rows), np.nan)
    known = np.flatnonzero(counts)
    low, high = (counts[known] - 1) // 2, counts[known] // 2
    middle[known] = (ordered[known, low] + ordered[known, high]) / 2
    return middle


def first_column(rows: Floats) -> Floats:
    """The `first` of each row, shape (rows,)."""
    measured = ~np.isnan(rows)
    if not rows.size:
        return np.full(len(rows), np.nan)
    return rows[np.arange(len(rows)), measured.argmax(axis=1)]


def batches(run: Run, many: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Sites or layers in parts whose series fit into little memory, in order."""
    size = max(1, _AT_ONCE // max(1, len(run.recorded)))
    for start in range(0, len(many), size):
        yield many[start : start + size]
