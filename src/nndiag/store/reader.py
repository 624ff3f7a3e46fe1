"""Read a run back."""

from __future__ import annotations

import json
import sqlite3
from functools import lru_cache
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from nndiag.records import (
    Floats,
    Header,
    Integers,
    Run,
    Site,
    SiteKind,
    Status,
)
from nndiag.store.autopsies import read_autopsies
from nndiag.store.batches import read_examples
from nndiag.store.coverage import read_coverage
from nndiag.store.database import open_database
from nndiag.store.header import read_header
from nndiag.store.samples import read_samples
from nndiag.store.schema import HEADER
from nndiag.store.series import affordable, limit, read_columns, read_series
from nndiag.store.vectors import read_vectors


def read(path: str | Path, *, most: int = 2_000) -> Run:
    """Read a run directory: finished, killed, moved elsewhere, or still training.

    What is stored stays as it is. All losses, metrics and evaluations are
    read. Of more than `most` recorded steps, `most` evenly spaced ones are read,
    first and last among them, besides the first step that was not finite and the
    one before it; fewer, if the readings of so many do not fit into half a gibibyte. A
    note tells.

    Args:
        path: the run directory.
        most: how many recorded steps to read at most, at least 2.

    Returns:
        The run as far as it was committed. The status of a killed run is
        ``"running"``.

    Raises:
        RunError: if `path` is not a run directory, is damaged, or has a newer schema.
    """
    path = Path(path)
    with open_database(path) as connection:
        header = read_header(path)
        sites = read_sites(connection)
        seconds, steps, loss = _losses(connection)
        stored, finite = _recorded(connection)
        kept = _thin(finite, min(most, affordable(connection, stored)))
        recorded = stored[kept]
        notes = _notes(connection)
        autopsies, unreadable = read_autopsies(connection)
        readings, unread = read_series(connection, sites, recorded)
        samples, unsampled = read_samples(connection, sites)
        vectors, unheld = read_vectors(connection, sites)
        notes += [*unreadable, *unread, *unsampled, *unheld]
        if header is None:
            notes.append(
                f"{HEADER} is missing: command, settings and versions unknown."
            )
        if len(kept) < len(stored):
            notes.append(f"Read {len(kept):,} of {len(stored):,} recorded steps.")
        return Run(
            path=path,
            header=header or Header(),
            status=read_status(connection),
            seconds=seconds,
            sites=tuple(sorted(sites.values(), key=lambda site: site.order)),
            steps=steps,
            loss=loss,
            metrics=_metrics(connection, steps),
            evaluations=_evaluations(connection),
            recorded=recorded,
            finite=finite[kept],
            readings=readings,
            samples=samples,
            notes=tuple(notes),
            autopsies=autopsies,
            coverage=read_coverage(connection, sites),
            vectors=vectors,
            examples=read_examples(connection, recorded),
        )


def read_status(connection: sqlite3.Connection) -> Status:
    """How the run ended, as far as its own process could say."""
    (status,) = connection.execute("SELECT status FROM status").fetchone() or ("",)
    if status not in get_args(Status):
        raise ValueError(f"unknown status {status!r}")
    return cast(Status, status)


def read_sites(connection: sqlite3.Connection) -> dict[int, Site]:
    """The sites by their number in this database."""
    sites: dict[int, Site] = {}
    rows = connection.execute(
        "SELECT id, key, kind, scope, function, dtype, file, shape, position, line "
        "FROM site ORDER BY id"
    )
    for number, *texts, shape, order, line in rows:
        if not all(isinstance(value, str) for value in texts):
            raise ValueError(f"site {number} is not described by text")
        key, kind, scope, function, dtype, file = cast(list[str], texts)
        if kind not in get_args(SiteKind):
            raise ValueError(f"unknown kind of site {kind!r}")
        sites[number] = Site(
            key,
            kind=cast(SiteKind, kind),
            scope=scope,
            function=function,
            order=_integer(order),
            dtype=dtype,
            shape=_shape(shape),
            file=file,
            line=_integer(line),
        )
    return sites


@lru_cache(1_000)
def _shape(stored: object) -> tuple[int, ...]:
    if not isinstance(stored, str) or len(stored) > 400:
        raise ValueError("a shape is not a short text")
    lengths: Any = json.loads(stored)
    if not isinstance(lengths, list):
        raise ValueError(f"{stored!r} is not a shape")
    return tuple(_integer(length) for length in cast(list[object], lengths))


def _integer(value: object) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} is not an integer")
    return value


def _losses(connection: sqlite3.Connection) -> tuple[float, Integers, Floats]:
    (last,) = connection.execute("SELECT max(seconds) FROM step").fetchone()
    steps, loss = read_columns(
        connection,
        "SELECT step, loss FROM step WHERE loss IS NOT NULL ORDER BY step",
        (),
        "i8 f8",
    )
    return float(last or 0.0), steps, loss


def _named(
    connection: sqlite3.Connection, table: str
) -> dict[str, tuple[Integers, Floats]]:
    """The series in ``metric`` or ``evaluation``: steps and values by name."""
    named: dict[str, tuple[Integers, Floats]] = {}
    for (name,) in connection.execute(f"SELECT DISTINCT name FROM {table}").fetchall():
        if not isinstance(name, str):
            raise ValueError(f"{name!r} in {table} is not a name")
        steps, values = read_columns(
            connection,
            f"SELECT step, value FROM {table} WHERE name = ? ORDER BY step",
            (name,),
            "i8 f8",
        )
        named[name] = steps, values
    return named


def _evaluations(
    connection: sqlite3.Connection,
) -> dict[str, tuple[Integers, Floats]]:
    return _named(connection, "evaluation")


def _metrics(connection: sqlite3.Connection, steps: Integers) -> dict[str, Floats]:
    """The metrics by name, aligned with `steps`; NaN where a step had none."""
    named = _named(connection, "metric")
    limit(len(named), len(steps))
    return {
        name: _aligned(own_steps, values, steps)
        for name, (own_steps, values) in named.items()
    }


def _aligned(own_steps: Integers, values: Floats, steps: Integers) -> Floats:
    """`values`, measured at `own_steps`, where these meet `steps`; NaN elsewhere."""
    aligned = np.full(steps.shape, np.nan)
    _, here, there = np.intersect1d(
        steps, own_steps, assume_unique=True, return_indices=True
    )
    aligned[here] = values[there]
    return aligned


def _recorded(connection: sqlite3.Connection) -> tuple[Integers, NDArray[np.bool_]]:
    steps, finite = read_columns(
        connection, "SELECT step, finite FROM recorded ORDER BY step", (), "i8 i8"
    )
    return steps, finite != 0


def _thin(finite: NDArray[np.bool_], most: int) -> Integers:
    """Positions of the recorded steps to read (see `read`)."""
    count = len(finite)
    if count <= most:
        return np.arange(count)
    spaced = np.linspace(0, count - 1, most).round().astype(np.int64)
    fault = np.flatnonzero(~finite)[:1]
    return np.unique(np.concatenate([spaced, fault, np.maximum(fault - 1, 0)]))


def _notes(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("SELECT sentence FROM note ORDER BY id")
    return [str(sentence) for (sentence,) in rows]
