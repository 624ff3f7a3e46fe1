"""The whole run in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nndiag.records import Finding, Run
from nndiag.report.blocks import Level, Verdict
from nndiag.report.units import count, printable
from nndiag.rules import autopsied
from nndiag.rules.measures import learned, loss_levels

_ORDER: tuple[Level, ...] = ("error", "warning", "info")


def judge(run: Run, findings: Sequence[Finding]) -> Verdict:
    """The verdict on a run: its level, and one sentence for the top of every output.

    The first finding of the highest severity speaks; findings come ranked by cause.
    """
    for level in _ORDER[:2]:
        found = [finding for finding in findings if finding.severity == level]
        if found:
            more = len(found) - 1
            rest = f" ({count(more, f'more {level}')} below)" if more else ""
            return Verdict(level, f"{_sentence(run, found[0])}{rest}")
    if not len(run.steps) and not len(run.recorded):
        return Verdict("info", "Not judged: no step was recorded.")
    if not any(np.isfinite(series).any() for series in run.readings.values()):
        return Verdict("info", "Not judged: no step has readings.")
    watched = count(len(run.recorded), "recorded step")
    return Verdict("healthy", f"Healthy: no problem found in {watched}.")


def _sentence(run: Run, finding: Finding) -> str:
    if finding.severity == "error" and finding.autopsy is not None:
        story = printable(autopsied.story(finding.autopsy))
        return f"This run broke down at step {finding.first_step:,}: {story}."
    return f"{_opening(run, finding.severity)}: {_continued(finding.title)}"


def _opening(run: Run, level: Level) -> str:
    if level == "warning":
        if learned(run):
            return "This run works, with a warning"
        judged = np.isfinite(loss_levels(run)).all()
        return f"This run {'has not learned and ' if judged else ''}has a warning"
    broken = np.flatnonzero(~np.isfinite(run.loss))
    if len(broken):
        return f"This run broke down at step {run.steps[broken[0]]:,}"
    if len(run.loss) and not learned(run):
        return "This run does not learn"
    return "This run has a fault"


def _continued(title: str) -> str:
    """The title as the second half of a sentence."""
    title = printable(title).strip().rstrip(".")
    ordinary = len(title) > 1 and title[0].isupper() and title[1:2].islower()
    # "NaN in the loss" and "GELU is dead" keep their first letter
    if ordinary and not any(c.isupper() for c in title.split()[0][1:]):
        title = title[0].lower() + title[1:]
    return f"{title}."
