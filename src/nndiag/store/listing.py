"""List the runs in a folder."""

from __future__ import annotations

import os
import platform
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nndiag.errors import RunError
from nndiag.records import Header, Status
from nndiag.store.database import open_database
from nndiag.store.header import read_header
from nndiag.store.reader import read_status


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """One run in a list of runs.

    Attributes:
        path: the run directory.
        started: UTC, ISO 8601, ``""`` if unknown.
        target: the target's import string, ``""`` for a recorded loop.
        status: how it ended; ``"killed"`` for a run that says ``"running"`` though
            its process on this computer is gone.
        steps: number of stored steps.
        loss: the last loss, `None` if no step reported one.
    """

    path: Path
    started: str
    target: str
    status: Status | Literal["killed"]
    steps: int
    loss: float | None


def list_runs(root: Path) -> tuple[RunSummary, ...]:
    """The runs that stand directly in the folder `root`.

    Returns:
        One summary per run, the last started first. What is not a run, or cannot be
        read, is passed over; there are no runs in a folder that does not exist.
    """
    try:
        folders = sorted(root.iterdir())
    except OSError:
        return ()
    summaries: list[RunSummary] = []
    for folder in folders:
        try:
            summaries.append(_summarize(folder))
        except RunError:
            continue
    return tuple(sorted(summaries, key=lambda run: run.started, reverse=True))


def _summarize(path: Path) -> RunSummary:
    with open_database(path) as connection:
        header = read_header(path) or Header()
        status = read_status(connection)
        (steps,) = connection.execute("SELECT count(*) FROM step").fetchone()
        last = connection.execute(
            "SELECT loss FROM step WHERE loss IS NOT NULL ORDER BY step DESC LIMIT 1"
        ).fetchone()
        return RunSummary(
            path=path,
            started=header.started,
            target=header.target,
            status="killed" if status == "running" and _gone(connection) else status,
            steps=steps,
            loss=None if last is None else float(last[0]),
        )


def _gone(connection: sqlite3.Connection) -> bool:
    """Whether the process that writes the run is known to have ended."""
    process, host = connection.execute("SELECT process, host FROM status").fetchone()
    # Windows has no such question: there, `os.kill` ends the process.
    if host != platform.node() or type(process) is not int or os.name != "posix":
        return False
    try:
        os.kill(process, 0)  # signal 0 asks only whether it is there
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    return False
