import math
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from nndiag.records import (
    Autopsy,
    Header,
    Operand,
    Readings,
    Site,
    StepRecord,
    TensorStats,
)
from nndiag.store import create

ACTIVATION = Site("hidden/sigmoid", kind="activation", scope="hidden", order=1)
WEIGHT = Site("hidden/w", kind="parameter", scope="hidden", order=0, shape=(3, 4))


@pytest.fixture
def record() -> Callable[..., StepRecord]:
    """Makes a recorded step whose numbers all follow from its own."""

    def make(step: int, *, finite: float = 1.0, sample: bool = True) -> StepRecord:
        value = TensorStats(
            mean=np.float32(step),
            saturated=np.float32(0.25),
            sample=np.full(4, step, np.float32) if sample else None,
        )
        return StepRecord(
            step=step,
            seconds=step / 8,
            loss=float(step),
            metrics={"accuracy": step / 2},
            readings=Readings(
                loss=np.float32(step),
                finite=np.float32(finite),
                value={ACTIVATION: value},
                cotangent={ACTIVATION: TensorStats(norm=np.float32(2 * step))},
                parameter={},
                gradient={WEIGHT: TensorStats(norm=np.float32(step + 0.5))},
                update={},
            ),
        )

    return make


@pytest.fixture
def autopsy() -> Autopsy:
    result = Operand(
        dtype="float32",
        shape=(2,),
        low=math.nan,
        high=-math.inf,
        nans=1,
        infs=1,
        values=(math.nan, math.inf, -math.inf, 1.5),
    )
    return Autopsy(
        kind="nan",
        primitive="log",
        file="train.py",
        line=3,
        column=9,
        source="y = jnp.log(x)",
        direction="forward",
        scope="",
        path=("scan[7]",),
        elements=((1,),),
        count=1,
        operands=(result,),
        result=result,
        values={"result": np.zeros(3)},
        reproduction=lambda folder: folder,
    )


@pytest.fixture
def finished(
    tmp_path: Path, record: Callable[..., StepRecord], autopsy: Autopsy
) -> Path:
    """A small finished run."""
    writer = create(tmp_path / "finished", Header(target="pkg:target", seed=3))
    for step in range(30):
        writer.add(record(step))
    writer.evaluate(29, {"accuracy": 0.5})
    writer.add_autopsy(29, autopsy)
    writer.note("An opaque call was not entered.")
    writer.close("finished")
    return tmp_path / "finished"


@pytest.fixture
def tampered(finished: Path) -> Iterator[Callable[[str], Path]]:
    """Runs SQL on the database of a finished run, as a stranger could have."""

    def tamper(script: str) -> Path:
        connection = sqlite3.connect(finished / "run.sqlite")
        connection.executescript(script)
        connection.close()
        return finished

    yield tamper
