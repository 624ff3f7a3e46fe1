"""Which examples pull hardest, as a table."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite

from nndiag.records import Examples, Run
from nndiag.report.blocks import Cell, Table
from nndiag.report.units import number, times

_MOST_STEPS = 6
_MOST_POSITIONS = 4


def hardest_examples(run: Run) -> Iterable[Table]:
    """The recorded steps in which single examples pulled hardest on the parameters.

    Nothing if no gradient norms of examples were measured.
    """
    if not run.examples:
        return
    ranked = sorted(run.examples.items(), key=lambda one: (-_lead(one[1]), one[0]))
    shown = sorted(step for step, _ in ranked[:_MOST_STEPS])
    yield Table(
        columns=("Step", "Examples", "Median norm", "Largest", "Times", "Positions"),
        rows=tuple(_row(step, run.examples[step]) for step in shown),
        note="The norm of the part that an example has in the gradient: the parts of a "
        "batch add up to it. Shown are the recorded steps where the largest exceeds "
        "the median most. Positions count from 0 in the batch of that step, the "
        "hardest first.",
    )


def _lead(examples: Examples) -> float:
    """How many times the median the largest is; infinite if it is not finite."""
    if not isfinite(examples.largest):
        return float("inf")
    return examples.largest / examples.median if examples.median > 0 else 0.0


def _row(step: int, examples: Examples) -> tuple[Cell, ...]:
    lead = _lead(examples)
    odd = not isfinite(examples.largest)
    return (
        Cell(f"{step:,}"),
        Cell(f"{examples.size:,}"),
        Cell(number(examples.median)),
        Cell(number(examples.largest), "error" if odd else None),
        Cell(times(lead) if isfinite(lead) and lead else "–"),
        Cell(", ".join(str(at) for at in examples.positions[:_MOST_POSITIONS])),
    )
