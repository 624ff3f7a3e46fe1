"""How far numbers are from the end of their type's range."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nndiag.records import Floats, Role, Run, Site

RANGE: dict[str, float] = {
    name: float(np.log2(float(np.finfo(name).max)))
    for name in ("float16", "float32", "float64")
} | {
    "bfloat16": float(np.log2((2 - 2**-7) * 2.0**127)),
    "float8_e4m3fn": float(np.log2(448)),
    "float8_e5m2": float(np.log2(57344)),
}
"""log2 of the largest finite number, by dtype, in bits.

NumPy does not know bfloat16 (8 bits of exponent, 7 of mantissa) nor the two types of 8
bits (Micikevicius et al., "FP8 formats for deep learning", 2022, table 1)."""


def headrooms(run: Run, role: Role, sites: Sequence[Site]) -> Floats:
    """Bits between the largest magnitude and the limit of the type, shape (sites, R).

    Where the largest magnitude was not measured (of large arrays in a type of wide
    range) the norm stands in, which is at least as large: a lower bound.

    NaN where neither was measured, where the value is not finite any more, or where
    the dtype is not a floating-point type of `RANGE`.
    """
    largest = run.stacked(role, "largest", sites)
    without = np.isnan(largest)
    if without.any():
        largest = np.where(without, run.stacked(role, "norm", sites), largest)
    bits = np.full(largest.shape, np.nan)
    usable = np.isfinite(largest) & (largest > 0)
    limits = np.array([RANGE.get(site.dtype, np.nan) for site in sites])
    np.log2(largest, out=bits, where=usable)
    return limits[:, None] - bits


def narrow(site: Site) -> bool:
    """Whether the type has fewer than the 8 bits of exponent of float32."""
    return RANGE.get(site.dtype, math.inf) < RANGE["bfloat16"]
