"""Write a run while it trains, and never end the training over it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from nndiag.errors import RunError
from nndiag.records import (
    Autopsy,
    Header,
    Site,
    Status,
    StepRecord,
)
from nndiag.store.autopsies import insert_autopsy
from nndiag.store.database import create_database
from nndiag.store.header import claim, write_header
from nndiag.store.schema import DATABASE, number, text
from nndiag.store.waiting import Waiting

_COMMIT_SECONDS = 0.5
_COMMIT_STEPS = 100


def create(
    path: Path, header: Header, collect: Callable[[], None] = lambda: None
) -> Writer:
    """Make a run directory and open it for writing.

    Args:
        path: the directory; it must not exist yet, or be empty. Missing parents
            are made.
        header: what is run; stored as ``run.json``.
        collect: adds what still waits to be added; called in a thread of the writer,
            before what was added is committed there.

    Returns:
        The writer of this run, whose status is ``"running"`` until it is closed.

    Raises:
        RunError: if something stands at `path` already, or it cannot be written.

    Example:
        >>> import tempfile
        >>> from nndiag.store import read
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     writer = create(Path(folder, "run-1"), Header(seed=7))
        ...     writer.add(StepRecord(step=0, seconds=0.1, loss=2.3, metrics={}))
        ...     writer.close("finished")
        ...     run = read(Path(folder, "run-1"))
        >>> run.status, run.header.seed, run.loss.tolist()
        ('finished', 7, [2.3])
    """
    try:
        claim(path)
        write_header(path, header)
        return Writer(path, create_database(path / DATABASE), collect)
    except (OSError, sqlite3.Error) as error:
        raise RunError(
            f"{path} cannot be written ({error}); choose another directory"
        ) from error


class Writer:
    """Stores a run step by step; made by `create`.

    Any thread may call it. What was added is committed after 100 steps or half a
    second, whichever comes first, so a killed process loses no more than that.

    No method raises: what cannot be stored is left out, `lost` says so, and the
    training goes on. After an error of the database (a full disk) nothing more is
    stored; what was committed before stays readable.

    Attributes:
        path: the run directory.
        lost: what could not be stored and why, in one sentence; `None` while nothing
            was lost.
    """

    path: Path
    lost: str | None

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        collect: Callable[[], None],
    ) -> None:
        self.path = path
        self._collect = collect
        self.lost = None
        self._connection: sqlite3.Connection | None = connection
        self._stopped = False
        self._lock = threading.RLock()
        self._sites: dict[str, int] = {}
        self._waiting = Waiting(self._identify)
        self._uncommitted_steps = 0
        self._closed = threading.Event()
        # The last steps must be committed though no further step may come.
        threading.Thread(
            target=self._commit_regularly, name="nndiag-store", daemon=True
        ).start()

    def add(self, record: StepRecord) -> None:
        """Store or replace one step; metrics or readings that fail leave its loss."""
        step, seconds, loss, metrics, readings = record

        def insert_loss(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR REPLACE INTO step VALUES (?, ?, ?)",
                (step, number(seconds), None if loss is None else number(loss)),
            )

        def insert_metrics(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT OR REPLACE INTO metric VALUES (?, ?, ?)",
                [(text(name), step, number(value)) for name, value in metrics.items()],
            )

        def count(connection: sqlite3.Connection) -> None:
            self._uncommitted_steps += 1
            if self._uncommitted_steps >= _COMMIT_STEPS:
                self._commit(connection)

        with self._lock:  # no commit in between: a step is there whole or not at all
            stored = self._attempt(f"step {step}", insert_loss)
            if metrics:
                self._attempt(f"the metrics of step {step}", insert_metrics)
            if stored and readings is not None and self._waiting.add(step, readings):
                self._insert_waiting()
            self._attempt(f"step {step}", count)

    def evaluate(self, step: int, metrics: Mapping[str, float]) -> None:
        """Store held-out metrics, measured after `step`."""

        def insert(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT OR REPLACE INTO evaluation VALUES (?, ?, ?)",
                [(text(name), step, number(value)) for name, value in metrics.items()],
            )

        self._attempt(f"the evaluation after step {step}", insert)

    def add_autopsy(self, step: int, autopsy: Autopsy) -> None:
        """Store or replace what a replay of `step` found, and commit it."""

        def insert(connection: sqlite3.Connection) -> None:
            insert_autopsy(connection, step, autopsy)
            self._commit(connection)

        self._attempt(f"the autopsy of step {step}", insert)

    def note(self, sentence: str) -> None:
        """Store what could not be seen or was lost; the same sentence only once."""

        def insert(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR IGNORE INTO note (sentence) VALUES (?)", (text(sentence),)
            )

        self._attempt("a note", insert)

    def flush(self) -> None:
        """Commit what was added so far."""
        self._attempt("the last steps", self._commit)

    def close(self, status: Status) -> None:
        """Say how the run ended, and leave a single database file behind.

        What is called after the first `close` does nothing.
        """
        self.flush()
        with self._lock:
            self._closed.set()
            connection, self._connection = self._connection, None
            if connection is None:
                return
            with suppress(sqlite3.Error):
                if self.lost is not None:
                    connection.execute(
                        "INSERT OR IGNORE INTO note (sentence) VALUES (?)",
                        (text(self.lost),),
                    )
                connection.execute(
                    "UPDATE status SET status = ?, process = NULL, host = NULL",
                    (status,),
                )
                connection.commit()
                # Without its WAL the file opens on read-only media too. A reader
                # that looks on just now prevents it; the WAL serves as well.
                connection.execute("PRAGMA busy_timeout = 0")
                connection.execute("PRAGMA journal_mode = DELETE")
            with suppress(sqlite3.Error):
                connection.close()

    def _attempt(self, what: str, act: Callable[[sqlite3.Connection], None]) -> bool:
        """Run `act` alone, and say whether it worked; remember what was lost."""
        with self._lock:
            connection = self._connection
            if connection is None or self._stopped:
                return False
            try:
                act(connection)
                return True
            except sqlite3.Error as error:
                self._stop(connection, what, error)
            # Law three, fail open: no record, whatever is in it, ends a training run.
            except Exception as error:
                self.lost = f"Could not store {what} ({type(error).__name__}: {error})."
            return False

    def _insert_waiting(self) -> None:
        for what, insert in self._waiting.take():
            self._attempt(what, insert)

    def _stop(
        self, connection: sqlite3.Connection, what: str, error: sqlite3.Error
    ) -> None:
        """Keep what can be kept and store nothing more."""
        self._stopped = True
        self.lost = (
            f"Recording stopped at {what} ({error}), at most {_COMMIT_STEPS} steps "
            f"before it are lost too; the training goes on."
        )
        try:
            connection.commit()
        except sqlite3.Error:
            with suppress(sqlite3.Error):
                connection.rollback()

    def _commit_regularly(self) -> None:
        while not self._closed.wait(_COMMIT_SECONDS):
            with suppress(Exception):
                self._collect()
            self.flush()

    def _commit(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            self._insert_waiting()
            self._waiting.insert_arrays(connection)
            connection.commit()
        self._uncommitted_steps = 0

    def _identify(self, connection: sqlite3.Connection, site: Site) -> int:
        """The number of `site` in the database; a new one is stored."""
        known = self._sites.get(site)
        if known is not None:
            return known
        key = text(site)
        if key not in self._sites:
            number = len(self._sites)
            connection.execute(
                "INSERT OR IGNORE INTO site VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    number,
                    key,
                    site.kind,
                    text(site.scope),
                    text(site.function),
                    site.order,
                    site.dtype,
                    str([int(length) for length in site.shape]),
                    text(site.file),
                    site.line,
                ),
            )
            self._sites[key] = number
        return self._sites[key]
