"""From what a step returned to the plain numbers that are stored."""

from __future__ import annotations

from typing import Any

import numpy as np

from nndiag.probes.packing import PackedReadings
from nndiag.probes.statistics import SAMPLE_SIZE
from nndiag.records import QUANTITIES, ROLES, Readings, TensorStats
from nndiag.session.layering import by_layer


def reduce_readings(readings: Readings | PackedReadings) -> Readings | None:
    """The readings with one float in place of each array of several.

    What stands in a scan over layers becomes a place for each layer. All other leading
    axes, of a step that scans over microbatches or is under `jax.vmap`, are reduced:
    of the entries, `largest` and `spread` keep the maximum, `norm` the root mean square
    √(Σx²/k), every other quantity and the loss the mean; `finite` is 1.0 if it is in
    all of them. A sample keeps its first 256 elements, a row of a table is touched if
    any entry says so. NaNs in the readings of a finite step stand for branches not
    taken, and are passed over; those of a step that is not finite count, as does a NaN
    in the loss.

    Args:
        readings: floats and NumPy arrays.

    Returns:
        Floats, and NumPy arrays for the samples; `None` if `readings` holds no
        loss: then the step ran unwatched.
    """
    if isinstance(readings, PackedReadings):
        readings = readings.unpacked
    if readings.loss is None:
        return None
    finite = float(np.min(readings.finite))
    roles = {
        role: {
            place: reduce_stats(own, finite == 1.0)
            for site, stats in getattr(readings, role).items()
            for place, own in by_layer(site, stats)
        }
        for role in ROLES
    }
    examples = reduce_examples(readings.examples)
    return Readings(reduce_loss(readings.loss), finite, **roles, examples=examples)


def reduce_loss(loss: Any) -> float | None:
    """The mean of a loss that may have leading axes; `None` stays."""
    if np.ndim(loss) == 0:
        return None if loss is None else float(loss)
    return float(np.asarray(loss, np.float64).mean())


def reduce_examples(norms: Any) -> Any:
    """The norms of single examples, those of microbatches one after the other."""
    return None if norms is None else np.ravel(norms)


def scalar(value: Any) -> float | None:
    """The value as a float, `None` if it is not one number."""
    if isinstance(value, str | bytes) or np.ndim(value) != 0:
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def reduce_stats(stats: TensorStats, finite: bool) -> TensorStats:
    """One float in place of each scalar that has leading axes.

    Args:
        stats: of one place, in no scan over layers.
        finite: whether the step was; then a NaN is of a branch not taken.
    """
    sample, rows = stats.sample, stats.rows
    return TensorStats(
        *(_number(name, getattr(stats, name), finite) for name in QUANTITIES),
        sample=None if sample is None else np.ravel(sample)[:SAMPLE_SIZE],
        rows=None if rows is None else _union(np.asarray(rows)),
        histogram=None if stats.histogram is None else _sum(stats.histogram),
        units=None if stats.units is None else _mean(stats.units, finite),
    )


def _sum(histogram: Any) -> Any:
    """The counts of all entries; a branch not taken, whose are NaN, has none."""
    counts = np.nan_to_num(np.asarray(histogram, np.float64))
    return counts.reshape(-1, counts.shape[-1]).sum(0)


def _mean(units: Any, finite: bool) -> Any:
    """The mean over the entries, if the step is finite without branches not taken."""
    entries = np.asarray(units, np.float64).reshape(-1, *np.shape(units)[-2:])
    if finite:
        entries = entries[~np.isnan(entries).any((1, 2))]
    return entries.mean(0) if len(entries) else np.full(np.shape(units)[-2:], np.nan)


def _union(rows: Any) -> Any:
    """The bits that any entry has; none has those of a branch not taken, a NaN."""
    words = np.nan_to_num(rows).astype(np.uint16).reshape(-1, rows.shape[-1])
    return np.bitwise_or.reduce(words, axis=0)


def _number(name: str, value: Any, finite: bool) -> float | None:
    if value is None or isinstance(value, float):
        return value
    numbers = np.ravel(value).astype(np.float64)
    if finite:
        numbers = numbers[~np.isnan(numbers)]
    if not numbers.size:
        return float("nan")
    if name in ("largest", "spread"):
        return float(numbers.max())
    if name == "norm":
        return float(np.sqrt(np.square(numbers).mean()))
    with np.errstate(invalid="ignore"):  # Inf - Inf
        return float(numbers.mean())
