"""Where a constant factor comes from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nndiag.gradcheck.comparing import Relation


def name_factor(
    relation: Relation,
    counts: Mapping[str, tuple[int, ...]],
    rounding: float,
    norms: tuple[float, float],
) -> tuple[str, str]:
    """The cause of a factor, and words for it.

    Args:
        relation: of the cause ``"factor"``.
        counts: shapes of the other arguments, by name.
        rounding: relative error that the factor may have.
        norms: of the gradient and of the derivative.

    Returns:
        ``"sign"``, ``"factor"``, ``"update"`` or ``"clipped"``, and the words.
    """
    factor, words = relation.factor, relation.words
    tolerance = 10 * rounding

    def equals(value: float) -> bool:
        return bool(np.isclose(abs(factor), value, rtol=tolerance, atol=0))

    if factor > 0 and equals(1):
        return "factor", f"{words}, but for {factor - 1:+.1e} of it"
    if equals(1):
        step = "the step of gradient descent with learning rate 1"
        return "sign", f"{words}: a sign error, or {step}"
    for name, axis, size in _sizes(counts):
        noun = "rows" if axis == 0 else f"entries along axis {axis}"
        has = f"{name} has {size} {noun}, so"
        minus = ", with the sign of a step" if factor < 0 else ""
        if equals(size):
            why = "a sum over them stands where the function takes the mean"
            return "factor", f"{words}: {has} {why}{minus}"
        if equals(1 / size):
            why = "a mean over them stands where the function takes the sum"
            why += ", or the mean is taken twice"
            return "factor", f"{words}: {has} {why}{minus}"
    if factor < 0:
        rate = _learning_rate(-factor, counts, tolerance)
        if rate:
            return "update", f"{words}: this is the update, with learning rate {rate}"
        return "factor", words
    if (
        norms[0] < norms[1]
        and _is_round(norms[0], tolerance, 2)
        and not _is_round(factor, tolerance, 2)
    ):
        length = f"{norms[0]:.4g}"
        return (
            "clipped",
            f"{words}: scaled from norm {norms[1]:.4g} to norm {length}, "
            f"as by clipping to norm {length}",
        )
    if equals(2):
        return "factor", f"{words}, as if the 2 of a square were counted twice"
    if equals(0.5):
        return "factor", f"{words}, as if the 2 of a square were missing"
    return "factor", words


def _sizes(counts: Mapping[str, tuple[int, ...]]) -> list[tuple[str, int, int]]:
    """Names, axes and lengths, rows first."""
    rows = [
        (name, axis, size)
        for name, shape in counts.items()
        for axis, size in enumerate(shape)
        if size > 1
    ]
    return sorted(rows, key=lambda row: row[1])


def _learning_rate(
    size: float, counts: Mapping[str, tuple[int, ...]], tolerance: float
) -> str:
    """A round learning rate in a factor, alone or with a sum for a mean."""
    alone = f"{size:.3g}" if _is_round(size, tolerance, 3) else ""
    if _is_round(size, tolerance, 1):
        return alone
    for name, axis, count in _sizes(counts):
        for rate, how in ((size / count, "summed over"), (size * count, "divided by")):
            if axis == 0 and _is_round(rate, tolerance, 1):
                summed = f"{rate:.1g}, {how} the {count} rows of {name}"
                return f"{alone} (or {summed})" if alone else summed
    return alone


def _is_round(value: float, tolerance: float, digits: int) -> bool:
    """Whether a number has so few significant digits."""
    return bool(np.isclose(value, float(f"{value:.{digits}g}"), rtol=tolerance, atol=0))
