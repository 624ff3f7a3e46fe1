"""A series in one line of text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nndiag.records import Floats

_SPARKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """The course of a series in one line; ``x`` stands for NaN and Inf.

    Example:
        >>> sparkline([4.0, 3.0, 2.0, 1.0, float("nan")])
        '█▆▃▁x'
    """
    spans = np.array_split(np.asarray(values, np.float64), min(len(values), width))
    # one bad value spoils its span: it must not hide in a mean
    means = np.array([_mean(span) for span in spans])
    known = means[np.isfinite(means)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 0.0)
    scale = (len(_SPARKS) - 1) / (high - low) if high > low else 0.0
    return "".join(
        _SPARKS[round((mean - low) * scale)] if np.isfinite(mean) else "x"
        for mean in means
    )


def _mean(span: Floats) -> float:
    return float(span.mean()) if np.isfinite(span).all() else float("nan")
