"""# ND110 residual_imbalance

## What it measures

Of each residual branch, `x + f(x)`, at each recorded step: the norm of the branch over
that of the stream, `‖f(x)‖ / ‖x‖`.

## Why it matters

A branch that adds nothing is a layer that is not there, and the layers in it hardly
learn. A branch that drowns its stream cuts the short way of signal and gradient, for
which the stream is there.

## When it fires

When the median ratio of the last quarter of the recorded steps (at least three) is
below 1e-4 or above 1,000. It is information, as both can be meant. It is a warning
where the branch added exactly nothing at all of these steps, and the run did not learn
well.

## What to do

Of a branch that adds nothing: look at its last layer, its gate or scale, and whether
they have a gradient. Of one that drowns its stream: normalise what enters the branch,
scale its output by 1/√(2·layers), or start the embeddings larger.

## Known limits

Branches are often started at or near 0 on purpose (ReZero, zero-initialised last
layers); they count by their end. Small embeddings make the first branch of a healthy
transformer 10 to 40 times as large as its stream.

## References

- S. De and S. Smith, "Batch Normalization Biases Residual Blocks Towards the Identity
  Function in Deep Networks", NeurIPS 2020 (arXiv:2002.10444).
- L. Liu et al., "Understanding the Difficulty of Training Transformers", EMNLP 2020
  (arXiv:2004.08249): the dependency on residual branches.
"""  # noqa: D415 (the first line is a heading)

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from nndiag.records import Evidence, Finding, Floats, Run, Site
from nndiag.rules.measures import certainty, learned_well, medians
from nndiag.rules.thresholds import BRANCH_LARGE, BRANCH_SMALL
from nndiag.rules.words import number, places


def examine(run: Run) -> Iterator[Finding]:
    """At most one finding for dead branches, and one for those that drown theirs."""
    sites = run.of_kind("residual")
    late = max(3, len(run.recorded) // 4)
    if not sites or len(run.recorded) < late:
        return
    series = run.stacked("value", "ratio", sites)[:, -late:]
    series[~np.isfinite(series)] = np.nan
    level = medians(series)
    for dead in (True, False):
        held = level < BRANCH_SMALL if dead else level > BRANCH_LARGE
        if held.any():
            at = np.flatnonzero(held)
            yield _finding(run, [sites[i] for i in at], series[at], dead, late)


def _finding(
    run: Run, sites: Sequence[Site], series: Floats, dead: bool, late: int
) -> Finding:
    level = medians(series)
    worst = int(level.argmin() if dead else level.argmax())
    value = float(level[worst])
    nothing = dead and bool((series == 0).all(axis=1).any())
    bound = BRANCH_SMALL if dead else BRANCH_LARGE
    beyond = bound / max(value, bound / 64) if dead else value / bound
    named = places(run, sites, sites[worst])
    what = "adds almost nothing to" if dead else "drowns"
    if nothing:
        what = "adds nothing to"
    return Finding(
        code="ND110",
        name="residual_imbalance",
        title=f"The residual branch {what} its stream: {number(value)} of its norm, "
        f"at {named}.",
        severity="warning" if nothing and not learned_well(run) else "info",
        confidence=certainty(beyond),
        sites=tuple(sites),
        first_step=int(run.recorded[-late]),
        last_step=int(run.recorded[-1]),
        evidence=(
            Evidence(
                quantity="norm of the branch over that of its stream, median",
                value=value,
                threshold=bound,
                source="measured on one healthy transformer: 0.18 to 35",
            ),
        ),
        cause="The last layer of the branch, its gate or its scale is 0 or nearly so."
        if dead
        else f"The branch is {number(value)} times as large as what it is added to: "
        "its weights are wide, or the stream starts small.",
        remedies=(
            "See whether the last layer of the branch, its gate or scale has a "
            "gradient, and whether dropout drops all of it.",
        )
        if dead
        else (
            "Normalise what enters the branch, and scale its last layer by "
            "1/√(2·layers).",
            "Start the embeddings larger.",
        ),
        picture="profile",
    )
