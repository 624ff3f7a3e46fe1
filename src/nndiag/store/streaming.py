"""Read a run number by number, however long it is."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from nndiag.records import Role, Site
from nndiag.store.database import open_database
from nndiag.store.reader import read_sites
from nndiag.store.schema import COLUMNS
from nndiag.store.series import has_table, known_site


class Entry(NamedTuple):
    """One number of a run.

    Attributes:
        step: number of the step.
        role: of the array that was measured; or ``"run"`` for the loss, the seconds
            since the run began and whether all was finite (1 or 0), ``"metric"`` and
            ``"evaluation"`` for what the program reported itself, ``"example"`` for
            the norms of the parts that examples have in the gradient.
        site: where it was measured; `None` for what belongs to no site.
        quantity: such as ``"norm"``, or the name of a metric; of examples ``"median"``,
            ``"largest"``, or the position of one in the batch.
        value: the number.
    """

    step: int
    role: Role | Literal["run", "metric", "evaluation", "example"]
    site: Site | None
    quantity: str
    value: float


_Step = tuple[int, list[Entry]]


def stream(path: Path) -> Iterator[Entry]:
    """Every number of a run but samples and histograms, by step, in little memory.

    Unlike `read` it leaves out no recorded step. All entries are of one moment, though
    the run may still train. Those of a step begin with its seconds, if it has them.

    Args:
        path: the run directory.

    Raises:
        RunError: `path` is not a run directory, is damaged, or has a newer schema.

    Example:
        >>> import tempfile
        >>> from nndiag.records import Header, StepRecord
        >>> from nndiag.store import create
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     writer = create(Path(folder, "run-1"), Header())
        ...     writer.add(StepRecord(step=0, seconds=0.1, loss=2.3, metrics={}))
        ...     writer.close("finished")
        ...     [(entry.quantity, entry.value) for entry in stream(writer.path)]
        [('seconds', 0.1), ('loss', 2.3)]
    """
    with open_database(path) as connection:
        parts = (
            _steps(connection),
            _named(connection, "metric"),
            _finite(connection),
            _readings(connection),
            _details(connection),
            _examples(connection),
            _named(connection, "evaluation"),
        )
        for _, entries in heapq.merge(*parts, key=lambda part: part[0]):
            yield from entries


def _steps(connection: sqlite3.Connection) -> Iterator[_Step]:
    rows = connection.execute("SELECT step, seconds, loss FROM step ORDER BY step")
    for step, seconds, loss in rows:
        yield step, _entries(step, "run", None, ("seconds", "loss"), (seconds, loss))


def _finite(connection: sqlite3.Connection) -> Iterator[_Step]:
    rows = connection.execute("SELECT step, finite FROM recorded ORDER BY step")
    for step, finite in rows:
        yield step, _entries(step, "run", None, ("finite",), (bool(finite),))


def _named(
    connection: sqlite3.Connection, table: Literal["metric", "evaluation"]
) -> Iterator[_Step]:
    rows = connection.execute(f"SELECT step, name, value FROM {table} ORDER BY step")
    for step, name, value in rows:
        if not isinstance(name, str):
            raise ValueError(f"{name!r} in {table} is not a name")
        yield step, _entries(step, table, None, (name,), (value,))


def _readings(connection: sqlite3.Connection) -> Iterator[_Step]:
    sites = read_sites(connection)
    # CROSS JOIN fixes the order of the loops: it is that of the index, unsorted
    rows = connection.execute(
        f"SELECT reading.step, role, site, {', '.join(COLUMNS)} "
        "FROM recorded CROSS JOIN reading ON reading.step = recorded.step "
        "ORDER BY recorded.step, role, site"
    )
    for step, role, number, *values in rows:
        yield step, _entries(step, role, known_site(sites, number), COLUMNS, values)


def _details(connection: sqlite3.Connection) -> Iterator[_Step]:
    if not has_table(connection, "detail"):
        return
    sites = read_sites(connection)
    rows = connection.execute(
        "SELECT step, role, site, quantity, value FROM detail "
        "ORDER BY step, role, site, quantity"
    )
    for step, role, number, quantity, value in rows:
        site = known_site(sites, number)
        yield step, _entries(step, role, site, (str(quantity),), (value,))


def _examples(connection: sqlite3.Connection) -> Iterator[_Step]:
    if not has_table(connection, "batch"):
        return
    names = "median", "largest"
    for step, *values in connection.execute(
        "SELECT step, median, largest FROM batch ORDER BY step"
    ):
        yield step, _entries(step, "example", None, names, values)
    for step, position, norm in connection.execute(
        "SELECT step, position, norm FROM example ORDER BY step, position"
    ):
        yield step, _entries(step, "example", None, (str(position),), (norm,))


def _entries(
    step: Any, role: Any, site: Site | None, names: Iterable[str], values: Iterable[Any]
) -> list[Entry]:
    """What was measured; NULL says that it was not."""
    if type(step) is not int or not isinstance(role, str):
        raise ValueError(f"there is a {role!r} of step {step!r}")
    return [
        Entry(step, role, site, name, float(value))  # pyright: ignore[reportArgumentType]
        for name, value in zip(names, values, strict=True)
        if value is not None
    ]
