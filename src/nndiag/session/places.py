"""Where runs are put that were not told where to go."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path


def new_directory(name: str) -> Path:
    """A directory under ``reports/``, named after a program, that is not there yet."""
    word = re.sub(r"\W+", "-", name).strip("-")
    stem = f"{word}-{datetime.now():%Y%m%d-%H%M%S}"
    candidates = (Path("reports") / f"{stem}{suffix}" for suffix in _suffixes())
    return next(path for path in candidates if not path.exists())


def _suffixes() -> Iterator[str]:
    yield ""
    yield from (f"-{number}" for number in itertools.count(2))
