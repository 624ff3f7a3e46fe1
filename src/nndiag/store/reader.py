"""Read a run back."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from nndiag.records import (
    QUANTITIES,
    Floats,
    Header,
    Integers,
    Role,
    Run,
    Site,
    SiteKind,
    Status,
)
from nndiag.store.autopsies import read_autopsies
from nndiag.store.database import open_database
from nndiag.store.header import read_header
from nndiag.store.schema import HEADER

_ROLES: tuple[Role, ...] = get_args(Role)
_MOST_NUMBERS = 1 << 27  # 1 GiB of float64; only a crafted database asks for more
_Series = dict[tuple[Role, str, Site], Floats]


def read(path: str | Path, *, most: int = 2_000) -> Run:
    """Read a run directory: finished, killed, moved elsewhere, or still training.

    What is stored stays as it is. All losses, metrics and evaluations are
    read. Of more than `most` recorded steps, `most` evenly spaced ones are read,
    first and last among them, besides the first step that was not finite and the
    one before it; a note tells.

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
        kept = _thin(finite, most)
        recorded = stored[kept]
        notes = _notes(connection)
        autopsies, unreadable = read_autopsies(connection)
        notes += unreadable
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
            readings=_readings(connection, sites, recorded),
            samples=_samples(connection, sites),
            notes=tuple(notes),
            autopsies=autopsies,
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


def _columns(
    connection: sqlite3.Connection,
    query: str,
    parameters: tuple[object, ...],
    types: str,
) -> list[NDArray[Any]]:
    """The columns of a query's answer; NULL and ``'NaN'`` both become NaN."""
    dtype = np.dtype([(f"column_{i}", code) for i, code in enumerate(types.split())])
    table = np.fromiter(connection.execute(query, parameters), dtype=dtype)
    return [table[name].copy() for name in dtype.names or ()]


def _losses(connection: sqlite3.Connection) -> tuple[float, Integers, Floats]:
    (last,) = connection.execute("SELECT max(seconds) FROM step").fetchone()
    steps, loss = _columns(
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
        steps, values = _columns(
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
    _limit(len(named), len(steps))
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
    steps, finite = _columns(
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


def _readings(
    connection: sqlite3.Connection, sites: dict[int, Site], recorded: Integers
) -> _Series:
    """Each series that has a reading at one of the `recorded` steps."""
    chosen = json.dumps(recorded.tolist())
    where = "role = ? AND step IN (SELECT value FROM json_each(?))"
    counts = ", ".join(f"count({quantity})" for quantity in QUANTITIES)
    readings: _Series = {}
    for role in _ROLES:
        measured = {
            number: [
                quantity
                for quantity, count in zip(QUANTITIES, row, strict=True)
                if count
            ]
            for number, *row in connection.execute(
                f"SELECT site, {counts} FROM reading WHERE {where} GROUP BY site",
                (role, chosen),
            )
        }
        present = [q for q in QUANTITIES if any(q in own for own in measured.values())]
        _limit(sum(map(len, measured.values())), len(recorded))
        step, site, *columns = _columns(
            connection,
            f"SELECT {', '.join(['step', 'site', *present])} FROM reading "
            f"WHERE {where} ORDER BY site, step",
            (role, chosen),
            "i8 i8" + " f8" * len(present),
        )
        values = dict(zip(present, columns, strict=True))
        for number, quantities in measured.items():
            first, end = np.searchsorted(site, [number, number + 1])
            where_recorded = np.searchsorted(recorded, step[first:end])
            for quantity in quantities:
                series = np.full(recorded.shape, np.nan)
                series[where_recorded] = values[quantity][first:end]
                readings[role, quantity, known_site(sites, number)] = series
    return readings


def known_site(sites: dict[int, Site], number: object) -> Site:
    """The site of that number.

    Raises:
        ValueError: there is none.
    """
    if not isinstance(number, int) or number not in sites:
        raise ValueError(f"there is no site {number!r}")
    return sites[number]


def _limit(series: int, length: int) -> None:
    if series * length > _MOST_NUMBERS:
        raise ValueError(f"{series} series of {length} steps are too many")


def _samples(
    connection: sqlite3.Connection, sites: dict[int, Site]
) -> dict[tuple[Site, int], Floats]:
    return {
        (known_site(sites, number), _integer(step)): np.frombuffer(
            elements, dtype="<f4"
        ).astype(np.float64)
        for number, step, elements in connection.execute(
            "SELECT site, step, elements FROM sample ORDER BY step, site"
        )
    }


def _notes(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("SELECT sentence FROM note ORDER BY id")
    return [str(sentence) for (sentence,) in rows]
