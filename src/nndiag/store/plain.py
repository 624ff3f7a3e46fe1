"""Values in terms of JSON, which has neither NaN nor infinities."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def plain(value: object) -> object:
    """`value` in terms of JSON: numbers that it lacks as words, the unknown as text.

    Example:
        >>> plain({"shape": (2, 3), "largest": float("inf")})
        {'shape': [2, 3], 'largest': 'Infinity'}
    """
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    if isinstance(value, Mapping):
        mapping = cast(Mapping[object, object], value)
        return {str(key): plain(entry) for key, entry in mapping.items()}
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes):
        return [plain(entry) for entry in cast(Sequence[object], value)]
    return str(value)


def real(value: object) -> float:
    """The number that `plain` wrote.

    Raises:
        ValueError: it is none.

    Example:
        >>> real("-Infinity"), real(2)
        (-inf, 2.0)
    """
    if isinstance(value, str) and value in _WORDS:
        return _WORDS[value]
    if isinstance(value, float) or type(value) is int:
        return float(value)
    raise ValueError(f"{value!r:.40} is not a number")
