"""From what a step returned to the plain numbers that are stored."""

from __future__ import annotations

from typing import Any

import numpy as np

from nndiag.probes.statistics import SAMPLE_SIZE
from nndiag.records import Readings, TensorStats
from nndiag.session.layering import by_layer


def reduce_readings(readings: Readings) -> Readings | None:
    """The readings with one float in place of each array of several.

    What stands in a scan over layers becomes a place for each layer. All other leading
    axes, of a step that scans over microbatches or is under `jax.vmap`, are reduced:
    of the entries, `largest` keeps the maximum, `norm` the root mean square √(Σx²/k),
    every other quantity and the loss the mean; `finite` is 1.0 if it is in all of them.
    A sample keeps its first 256 elements. NaNs in the readings of a finite step stand
    for branches not taken, and are passed over; those of a step that is not finite
    count, as does a NaN in the loss.

    Args:
        readings: floats and NumPy arrays.

    Returns:
        Floats, and NumPy arrays for the samples; `None` if `readings` holds no
        loss: then the step ran unwatched.
    """
    if readings.loss is None:
        return None
    finite = float(np.min(readings.finite))
    sites = (
        {
            place: _reduce(own, finite == 1.0)
            for site, stats in by_site.items()
            for place, own in by_layer(site, stats)
        }
        for by_site in readings[2:]
    )
    return Readings(reduce_loss(readings.loss), finite, *sites)


def reduce_loss(loss: Any) -> float | None:
    """The mean of a loss that may have leading axes; `None` stays."""
    return None if loss is None else float(np.asarray(loss, np.float64).mean())


def scalar(value: Any) -> float | None:
    """The value as a float, `None` if it is not one number."""
    if isinstance(value, str | bytes) or np.ndim(value) != 0:
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _reduce(stats: TensorStats, finite: bool) -> TensorStats:
    *quantities, sample = stats
    names = TensorStats._fields
    return TensorStats(
        *(
            _number(name, value, finite)
            for name, value in zip(names[:-1], quantities, strict=True)
        ),
        sample=None if sample is None else np.ravel(sample)[:SAMPLE_SIZE],
    )


def _number(name: str, value: Any, finite: bool) -> float | None:
    if value is None or isinstance(value, float):
        return value
    numbers = np.ravel(value).astype(np.float64)
    if finite:
        numbers = numbers[~np.isnan(numbers)]
    if not numbers.size:
        return float("nan")
    if name == "largest":
        return float(numbers.max())
    if name == "norm":
        return float(np.sqrt(np.square(numbers).mean()))
    with np.errstate(invalid="ignore"):  # Inf - Inf
        return float(numbers.mean())
