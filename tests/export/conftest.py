import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from nndiag.records import Header, Readings, Site, StepRecord, TensorStats
from nndiag.store import create

HOSTILE = 'a,"b"\n=1+1;<script>é</script>'
UNIT = Site(
    "hidden/sigmoid", kind="activation", scope="hidden", order=1, file="m.py", line=7
)
WEIGHT = Site("w", kind="parameter", scope="", order=0, file=HOSTILE, line=3)
TAP = Site(HOSTILE, kind="tap", scope="", order=2)

Key = tuple[int, str, str, str]
"""Step, role, site and quantity."""


class Stored(NamedTuple):
    """A run, and what was put into it."""

    path: Path
    numbers: dict[Key, float]


def readings(step: int) -> Readings:
    odd = (math.nan, math.inf, -math.inf)[step % 3]
    return Readings(
        loss=None,
        finite=np.float32(step % 2),
        value={
            UNIT: TensorStats(mean=np.float32(step / 3), saturated=np.float32(odd)),
            TAP: TensorStats(norm=np.float64(1 / (step + 7))),
        },
        cotangent={UNIT: TensorStats(norm=np.float32(1e-40))},
        parameter={WEIGHT: TensorStats(std=np.float32(odd))},
        gradient={WEIGHT: TensorStats(largest=np.float32(3e38))},
        update={WEIGHT: TensorStats(cosine=np.float32(-0.1))},
    )


def numbers(record: StepRecord) -> dict[Key, float]:
    """Every number of a record, one by one."""
    step = record.step
    found: dict[Key, float] = {(step, "run", "", "seconds"): record.seconds}
    if record.loss is not None:
        found[step, "run", "", "loss"] = record.loss
    for name, value in record.metrics.items():
        found[step, "metric", "", name] = value
    if record.readings is None:
        return found
    found[step, "run", "", "finite"] = float(record.readings.finite)
    for role in ("value", "cotangent", "parameter", "gradient", "update"):
        for site, stats in getattr(record.readings, role).items():
            for quantity, value in stats._asdict().items():
                if value is not None:
                    found[step, role, str(site), quantity] = float(value)
    return found


@pytest.fixture
def store_numbers(tmp_path: Path) -> Callable[..., Stored]:
    """Stores a run of odd numbers and names; readings of every other step."""

    def make(steps: int = 12, *, status: str | None = "finished") -> Stored:
        header = Header(
            target="pkg:target",
            command=f"nndiag run {HOSTILE}",
            started="2026-01-02T03:04:05+00:00",
            settings={"rate": math.inf},
            versions={"jax": "0.11.0"},
        )
        writer = create(tmp_path / f"run-{steps}", header)
        known: dict[Key, float] = {}
        for step in range(steps):
            record = StepRecord(
                step=step,
                seconds=step / 8,
                loss=(1 / (step + 1), math.nan, math.inf, None)[step % 4],
                metrics={"accuracy": step / 7, HOSTILE: -math.inf},
                readings=None if step % 2 else readings(step),
            )
            writer.add(record)
            known |= numbers(record)
        writer.evaluate(steps, {"accuracy": math.nan, "loss": 0.1})
        known[steps, "evaluation", "", "accuracy"] = math.nan
        known[steps, "evaluation", "", "loss"] = 0.1
        if status is None:
            writer.flush()
        else:
            writer.close(status)  # pyright: ignore[reportArgumentType]
        return Stored(writer.path, known)

    return make
