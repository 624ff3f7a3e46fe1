"""One recorded step as a run of its own, so that its numbers are a report's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nndiag.records import (
    QUANTITIES,
    ROLES,
    Floats,
    Header,
    Role,
    Run,
    Site,
    StepRecord,
    TensorStats,
)


def snapshot(record: StepRecord) -> Run:
    """The run that consists of this step alone."""
    readings: dict[tuple[Role, str, Site], Floats] = {}
    for role in ROLES if record.readings is not None else ():
        by_site: dict[Site, TensorStats] = getattr(record.readings, role)
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
