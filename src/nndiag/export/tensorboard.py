# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
"""A run as the event file of TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import closing
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from nndiag.export.table import Row

_VERSION = "brain.Event:2"


def write(path: Path, document: str, rows: Iterable[Row]) -> None:
    """Write a log directory: the numbers as scalars, what was run and found as text.

    The tag of a scalar is ``role/site/quantity``, or ``role/quantity`` for what belongs
    to no site. TensorBoard's scalars are float32: NaN and infinities are kept, digits
    beyond the seventh are not. Wall times count from the start of the run.
    """
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import RecordWriter
    from tensorboardX.summary import text

    report = json.loads(document)
    began = _seconds(report["run"]["started"])
    path.mkdir()
    file = path / f"events.out.tfevents.{int(began)}.nndiag"
    with closing(RecordWriter(str(file.absolute()))) as writer:

        def put(**event: Any) -> None:
            writer.write(Event(**event).SerializeToString())

        put(wall_time=began, file_version=_VERSION)
        put(wall_time=began, summary=text("nndiag/findings", _block(_findings(report))))
        put(wall_time=began, summary=text("nndiag/report", _block(document)))
        now = began
        for step, of_step in groupby(rows, key=lambda row: row.step):
            event = Event(step=step)
            for row in of_step:
                if (row.role, row.quantity) == ("run", "seconds"):
                    now = began + row.value
                event.summary.value.add(tag=_tag(row), simple_value=row.value)
            event.wall_time = now
            writer.write(event.SerializeToString())


def _tag(row: Row) -> str:
    return "/".join(part for part in (row.role, row.site, row.quantity) if part)


def _seconds(started: str) -> float:
    """Seconds since 1970; 0 for a run that does not know when it began."""
    try:
        return datetime.fromisoformat(started).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0


def _findings(report: dict[str, Any]) -> str:
    lines = [report["verdict"]["sentence"]]
    for finding in report["findings"]:
        lines += ["", f"{finding['code']} {finding['severity']}: {finding['title']}"]
        lines += [finding["cause"], *(f"- {text}" for text in finding["remedies"])]
    return "\n".join(lines)


def _block(text: str) -> str:
    """A text that Markdown leaves as it is: names in it can be hostile."""
    return "\n".join(f"    {line}" for line in text.splitlines())
