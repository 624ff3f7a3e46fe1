"""Make the database of a run; open it to read: live, finished, killed or hostile."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from nndiag.errors import RunError
from nndiag.store.schema import (
    DATABASE,
    LARGEST_CELL,
    SCHEMA_VERSION,
    SINCE,
    TABLES,
    text,
)


def create_database(path: Path) -> sqlite3.Connection:
    """A new database with all tables, and a status that says ``"running"``.

    Raises:
        sqlite3.Error: it cannot be made.
    """
    connection = sqlite3.connect(path, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("BEGIN")
        for statement in TABLES.values():
            connection.execute(statement)
        connection.execute(
            "INSERT INTO status VALUES (1, 'running', ?, ?)",
            (os.getpid(), text(platform.node())),
        )
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.commit()
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def open_database(directory: Path) -> Generator[sqlite3.Connection]:
    """One consistent view of a run's tables, whatever its writer does meanwhile.

    Yields:
        A connection inside a read transaction.

    Raises:
        RunError: if `directory` holds no run, a damaged one, or one of a newer
            schema; also for what the body of the ``with`` makes of bad contents
            (`sqlite3.Error`, `TypeError`, `ValueError`, `OverflowError`).
    """
    path = directory / DATABASE
    try:
        if not directory.is_dir():
            what = "is not a directory" if directory.exists() else "does not exist"
            raise RunError(f"{directory} {what}; name a run directory")
        if not path.is_file():
            raise RunError(
                f"{directory} is not a run directory: it holds no {DATABASE}; "
                f"`nndiag list` shows the runs there are"
            )
        with ExitStack() as stack:
            connection = _connect(path, stack)
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_CELL)
            connection.execute("BEGIN")
            _check_schema(connection, directory)
            yield connection
    except OSError as error:
        raise RunError(f"{directory} cannot be opened: {error}") from error
    except (sqlite3.Error, TypeError, ValueError, OverflowError) as error:
        raise RunError(
            f"{path} cannot be read, it is damaged or not the database of a run "
            f"({type(error).__name__}: {error}); restore it from a copy"
        ) from error


def _connect(path: Path, stack: ExitStack) -> sqlite3.Connection:
    try:
        return _connect_here(path, stack)
    except sqlite3.OperationalError:
        # Where SQLite may not make its shared-memory file (read-only media), it
        # cannot read a WAL that a killed run has left: read a copy of both.
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="nndiag-")))
        for name in (path.name, f"{path.name}-wal"):
            if path.with_name(name).exists():
                shutil.copyfile(path.with_name(name), folder / name)
        return _connect_here(folder / path.name, stack)


def _connect_here(path: Path, stack: ExitStack) -> sqlite3.Connection:
    location = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(location, uri=True, isolation_level=None)
    stack.enter_context(closing(connection))
    connection.execute("SELECT count(*) FROM sqlite_master")
    return connection


def _check_schema(connection: sqlite3.Connection, directory: Path) -> None:
    """Demand a known version and its tables, so that no view or trap stands in."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise RunError(
            f"{directory} was written with schema {version}, this nndiag reads "
            f"up to schema {SCHEMA_VERSION}; upgrade nndiag to read it"
        )
    present = dict(connection.execute("SELECT name, sql FROM sqlite_master").fetchall())
    for name, statement in TABLES.items():
        if 1 <= version < SINCE.get(name, 1):
            continue
        if version < 1 or present.get(name) != statement:
            raise RunError(
                f"{directory} is not a run directory: the table {name!r} in its "
                f"{DATABASE} is not the one that nndiag makes; restore it from a copy"
            )
