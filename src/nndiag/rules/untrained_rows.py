"""# ND210 untrained_rows

## What it measures

Of each table whose rows are looked up (an embedding): which rows had a gradient that is
not zero at any recorded step. Of a table of more than 65,536 rows, evenly spaced ones
are watched.

## Why it matters

A row without a gradient stays as it was drawn. Where its number turns up later, the
network reads noise. Rows that are never looked up also often show that numbers and
table do not fit: another tokeniser, an offset, a vocabulary that is too large.

## When it fires

When half or more of the rows had no gradient at any of at least 20 recorded steps, and
no row had its first gradient in the second half of them: more steps of the same data
will not reach the rest. It is information.

## What to do

Compare the numbers in the data with the size of the table; make the table smaller, or
see that the data is read in full.

## Known limits

Only recorded steps count: a row that is looked up at others alone is not seen. Rows
that a mask hides from the loss have no gradient either. A table that is also the
output layer (tied) has a gradient everywhere. Rare numbers may still come.

## References

- S. Land and M. Bartolo, "Fishing for Magikarp: Automatically Detecting Under-trained
  Tokens in Large Language Models", EMNLP 2024 (arXiv:2405.05417).
"""  # noqa: D415 (the first line is a heading)

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nndiag.records import Evidence, Finding, Run, Site
from nndiag.rules.measures import certainty
from nndiag.rules.thresholds import COVERED_STEPS, UNTRAINED_SHARE
from nndiag.rules.words import percent


def examine(run: Run) -> Iterator[Finding]:
    """One finding for each table of which half or more was never trained."""
    if len(run.recorded) < 2:
        return
    middle = run.recorded[len(run.recorded) // 2]
    for site, known in run.coverage.items():
        without = 1 - known.share
        if known.steps < COVERED_STEPS or without < UNTRAINED_SHARE:
            continue
        if known.latest >= middle or not _measured(run, site):
            continue
        of = "rows" if known.stride == 1 else f"rows (every {known.stride}th watched)"
        yield Finding(
            code="ND210",
            name="untrained_rows",
            title=f"{percent(without)} of the {site.shape[0]:,} {of} of {site} had no "
            f"gradient at any recorded step.",
            severity="info",
            confidence=certainty(without / UNTRAINED_SHARE),
            sites=(site,),
            first_step=int(run.recorded[0]),
            last_step=int(run.recorded[-1]),
            evidence=(
                Evidence(
                    quantity="share of rows without a gradient",
                    value=without,
                    threshold=UNTRAINED_SHARE,
                    source="half of the table",
                ),
                Evidence(
                    quantity="last step at which a row had its first gradient",
                    value=known.latest,
                ),
            ),
            cause="The data never names these rows: the table is larger than what is "
            "in the data, or the numbers in the data are not those of the table.",
            remedies=(
                "Compare the smallest and the largest number in the data with the "
                "size of the table.",
                "Make the table as large as the data needs.",
            ),
            picture="update",
        )


def _measured(run: Run, site: Site) -> bool:
    return bool(np.isfinite(run.series("gradient", "norm", site)).any())
