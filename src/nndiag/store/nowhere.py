"""A run that is not written: of several processes of one training, the first writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nndiag.records import Autopsy, Status, StepRecord


class Nowhere:
    """Takes what a `Writer` takes, and keeps none of it.

    Attributes:
        path: where the run of the first process is.
        lost: nothing ever is.
    """

    lost: str | None = None

    def __init__(self, path: Path) -> None:
        """Touches nothing at `path`."""
        self.path = path

    def add(self, record: StepRecord) -> None:
        """Nothing is stored."""

    def evaluate(self, step: int, metrics: Mapping[str, float]) -> None:
        """Nothing is stored."""

    def add_autopsy(self, step: int, autopsy: Autopsy) -> None:
        """Nothing is stored."""

    def note(self, sentence: str) -> None:
        """Nothing is stored."""

    def flush(self) -> None:
        """There is nothing to commit."""

    def close(self, status: Status) -> None:
        """There is nothing to close."""
