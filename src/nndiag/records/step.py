"""One step of a run."""

from __future__ import annotations

from typing import NamedTuple

from nndiag.records.gathered import Gathered
from nndiag.records.readings import Readings


class StepRecord(NamedTuple):
    """One step as it is stored: plain floats and NumPy arrays, nothing on a device.

    Attributes:
        step: number of the step, from 0.
        seconds: time since the run began, in seconds.
        loss: the loss, `None` if the step reported none.
        metrics: other scalars the step reported, by name.
        readings: what was measured, `None` on a step that was not recorded.
    """

    step: int
    seconds: float
    loss: float | None
    metrics: dict[str, float]
    readings: Readings | Gathered | None = None
