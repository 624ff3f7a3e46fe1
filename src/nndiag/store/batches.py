"""The examples of each recorded batch that pull hardest."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from nndiag.records import Array, Examples, Integers, hardest
from nndiag.store.schema import number
from nndiag.store.series import has_table


def insert_examples(connection: sqlite3.Connection, step: int, norms: Array) -> None:
    """Stores or replaces the examples of one step.

    Args:
        connection: of the run.
        step: its number.
        norms: of the part of each example in the gradient.
    """
    found = hardest(norms)
    connection.execute(
        "INSERT OR REPLACE INTO batch VALUES (?, ?, ?, ?)",
        (step, found.size, number(found.median), number(found.largest)),
    )
    connection.execute("DELETE FROM example WHERE step = ?", (step,))
    connection.executemany(
        "INSERT INTO example VALUES (?, ?, ?)",
        [
            (step, position, number(norm))
            for position, norm in zip(found.positions, found.norms, strict=True)
        ],
    )


def read_examples(
    connection: sqlite3.Connection, recorded: Integers
) -> dict[int, Examples]:
    """The examples of each of the `recorded` steps that has some, in their order."""
    if not has_table(connection, "batch"):
        return {}
    steps = (json.dumps(recorded.tolist()),)
    where = "step IN (SELECT value FROM json_each(?))"
    hard: dict[Any, list[tuple[int, float]]] = {}
    # NaN, a text, is larger than all numbers
    for step, position, norm in connection.execute(
        f"SELECT step, position, norm FROM example WHERE {where} "
        "ORDER BY step, norm DESC, position",
        steps,
    ):
        if type(position) is not int:
            raise ValueError(f"{position!r} is not the position of an example")
        hard.setdefault(step, []).append((position, float(norm)))
    found: dict[int, Examples] = {}
    for step, count, median, largest in connection.execute(
        "SELECT step, examples, median, largest FROM batch "
        f"WHERE {where} ORDER BY step",
        steps,
    ):
        if type(step) is not int or type(count) is not int:
            raise ValueError(f"the examples of step {step!r} are not known")
        own = hard.get(step, [])
        positions = tuple(position for position, _ in own)
        norms = tuple(norm for _, norm in own)
        found[step] = Examples(count, float(median), float(largest), positions, norms)
    return found
