"""Programs that make a NaN or Inf, and programs that do not, with the truth of each.

The truth was written by hand; `test_zoo.py` checks it with means of its own.
"""

from . import backward, finite, forward, loops, low_precision, rules, swallowed
from .case import CASES, Case, Truth

__all__ = [
    "CASES",
    "Case",
    "Truth",
    "backward",
    "finite",
    "forward",
    "loops",
    "low_precision",
    "rules",
    "swallowed",
]
