"""The leaves of a gradient check: a row each, and a card where words are needed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from nndiag.records.gradcheck import Coordinate, LeafCheck
from nndiag.report.blocks import Cell, CheckCard, Level, Table
from nndiag.report.errormap import error_map, index
from nndiag.report.units import number, printable
from nndiag.rules.words import precise

_SHOWN = 12
"""Leaves in a table before those that are right are folded into a sentence."""

_ROWS = 24
"""Leaves in a table at most."""

_CARDS = 6
"""Leaves that get a card of their own, the worst of them."""

_NAMED = 3
"""Skipped leaves that are named, of each kind."""

_ELEMENTS = 4
"""Elements of a leaf that are told one by one."""

_LEVELS: dict[str, Level | None] = {
    "wrong": "error",
    "undecided": "warning",
    "right": "healthy",
    "skipped": None,
}
_URGENCY = tuple(_LEVELS)


def rank(leaves: Iterable[LeafCheck]) -> list[LeafCheck]:
    """The leaves, worst first: the wrong ones lead, large errors before small."""

    def urgency(leaf: LeafCheck) -> tuple[int, float]:
        size = leaf.largest_error / leaf.norm if leaf.norm else leaf.largest_error
        return _URGENCY.index(leaf.verdict), -size if size == size else 0.0

    return sorted(leaves, key=urgency)


def leaf_table(ranked: Sequence[LeafCheck]) -> Table:
    """A row for each leaf; of many leaves only for those that are not right.

    Args:
        ranked: the leaves, worst first.
    """
    judged = [leaf for leaf in ranked if leaf.verdict != "skipped"]
    shown = judged
    if len(judged) > _SHOWN:
        shown = [leaf for leaf in judged if leaf.verdict != "right"][:_ROWS]
    notes = (_fold(judged[len(shown) :]), _skipped(ranked[len(judged) :]))
    return Table(
        columns=("Leaf", "Shape", "Norm", "Largest error", "Where", "Verdict"),
        rows=tuple(_row(leaf) for leaf in shown),
        note=" ".join(filter(None, notes)),
    )


def count_leaves(leaves: int) -> str:
    """An amount of leaves in words."""
    return f"{leaves:,} {'leaf' if leaves == 1 else 'leaves'}"


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop, unless it begins with a name.

    Example:
        >>> sentence("half of the derivative"), sentence("b[2] has the wrong sign.")
        ('Half of the derivative.', 'b[2] has the wrong sign.')
    """
    text = printable(text).strip()
    if text.partition(" ")[0].isalpha():
        text = text[0].upper() + text[1:]
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."


def _row(leaf: LeafCheck) -> tuple[Cell, ...]:
    level = _LEVELS[leaf.verdict]
    where = "–"
    if leaf.worst_index is not None:
        where = index(leaf.worst_index) if leaf.shape else "scalar"
    return (
        Cell(printable(leaf.path)),
        Cell("×".join(map(str, leaf.shape)) or "scalar"),
        Cell(number(leaf.norm)),
        Cell(number(leaf.largest_error), "error" if level == "error" else None),
        Cell(where),
        Cell(leaf.verdict, level),
    )


def _fold(leaves: Sequence[LeafCheck]) -> str:
    """The leaves without a row in a sentence."""
    said: list[str] = []
    for verdict in _LEVELS:
        some = [leaf for leaf in leaves if leaf.verdict == verdict]
        if some and verdict == "right":
            error = max(leaf.largest_error for leaf in some)
            said.append(
                f"{count_leaves(len(some))} right (error at most {number(error)})"
            )
        elif some:
            said.append(f"{len(some):,} more {verdict}")
    return f"{', '.join(said)}." if said else ""


def _skipped(leaves: Sequence[LeafCheck]) -> str:
    """The leaves that were not looked at, by reason."""
    reasons = dict.fromkeys(leaf.explanation for leaf in leaves)
    parts: list[str] = []
    for reason in reasons:
        paths = [printable(leaf.path) for leaf in leaves if leaf.explanation == reason]
        more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        named = ", ".join(paths[:_NAMED])
        because = f" ({printable(reason).rstrip('.')})" if reason else ""
        parts.append(f"{named}{more}{because}")
    return f"Skipped: {'; '.join(parts)}." if parts else ""


def leaf_cards(ranked: Sequence[LeafCheck], anchor: str) -> Iterator[CheckCard]:
    """A card for each of the worst leaves that are wrong or undecided.

    Args:
        ranked: the leaves, worst first.
        anchor: what the names of the pictures end with, before their number.
    """
    bad = [leaf for leaf in ranked if leaf.verdict in ("wrong", "undecided")]
    for place, leaf in enumerate(bad[:_CARDS], start=1):
        yield CheckCard(
            level=_LEVELS[leaf.verdict] or "info",
            label=leaf.verdict,
            title=printable(leaf.path),
            text=sentence(leaf.explanation),
            facts=tuple(_numbers(leaf)),
            elements=_elements(leaf.wrong) if leaf.wrong else None,
            picture=error_map(leaf, f"errors{anchor}-{place}"),
        )


def _numbers(leaf: LeafCheck) -> Iterator[tuple[str, str]]:
    at = f" at {index(leaf.worst_index)}" if leaf.worst_index else ""
    yield "Error", f"{number(leaf.largest_error)}{at}"
    how = ", by a complex step" if leaf.method == "complex step" else ""
    yield "Visible", f"errors above {number(leaf.error_bound)}{how}"
    if leaf.kinks:
        named = ", ".join(index(place) for place in leaf.kinks[:_ELEMENTS])
        more = ", …" if len(leaf.kinks) > _ELEMENTS else ""
        yield "Kinks", f"{named}{more}"


def _elements(wrong: Sequence[Coordinate]) -> Table:
    def row(one: Coordinate) -> tuple[Cell, ...]:
        given, expected = _apart(one.given, one.expected)
        return (
            Cell(index(one.index)),
            Cell(given, "error"),
            Cell(f"{expected} ± {number(one.bound)}"),
            Cell(_ratio(one)),
        )

    more = len(wrong) - _ELEMENTS
    return Table(
        columns=("Element", "Given", "Derivative", "Ratio"),
        rows=tuple(row(one) for one in wrong[:_ELEMENTS]),
        note=f"{more} more were looked at and are wrong." if more > 0 else "",
    )


def _apart(one: float, other: float) -> tuple[str, str]:
    """Two numbers with as many digits as it takes to tell them apart."""
    texts = precise(one), precise(other)
    for digits in (9, 12, 17):
        if texts[0] == texts[1]:
            texts = f"{one:.{digits}g}", f"{other:.{digits}g}"
    return texts


def _ratio(one: Coordinate) -> str:
    ratio = one.given / one.expected if one.expected else math.nan
    if not math.isfinite(ratio):
        return "–"
    if 0 < abs(ratio - 1) < 1e-3:
        return f"1 {'+' if ratio > 1 else '-'} {number(abs(ratio - 1))}"
    return f"{ratio:.4g}"
