"""One recorded step as a run of its own, so that its numbers are a report's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nndiag.records import (
    QUANTITIES,
    Floats,
    Header,
    Readings,
    Role,
    Run,
    Site,
    StepRecord,
    TensorStats,
)


def snapshot(record: StepRecord) -> Run:
    """The run that consists of this step alone."""
    readings: dict[tuple[Role, str, Site], Floats] = {}
    for role, by_site in _roles(record.readings):
        for site, stats in by_site.items():
            for quantity in QUANTITIES:
                value = getattr(stats, quantity)
                if value is not None:
                    readings[role, quantity, site] = np.array([value], np.float64)
    sites = {site for _, _, site in readings}
    return Run(
        path=Path(),
        header=Header(),
        status="running",
        seconds=record.seconds,
        sites=tuple(sorted(sites, key=lambda site: site.order)),
        steps=np.array([record.step]),
        loss=np.array([np.nan if record.loss is None else record.loss]),
        metrics={},
        evaluations={},
        recorded=np.array([record.step]),
        finite=np.array([True]),
        readings=readings,
        samples={},
        notes=(),
    )


def _roles(readings: Readings | None) -> Sequence[tuple[Role, dict[Site, TensorStats]]]:
    if readings is None:
        return ()
    return (
        ("value", readings.value),
        ("cotangent", readings.cotangent),
        ("parameter", readings.parameter),
        ("gradient", readings.gradient),
        ("update", readings.update),
    )
