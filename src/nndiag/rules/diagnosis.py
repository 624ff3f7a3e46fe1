"""From a run to its findings."""

from __future__ import annotations

from nndiag.records import Finding, Run
from nndiag.rules import rule_failed
from nndiag.rules.catalogue import CATALOGUE, Rule
from nndiag.rules.cause import arrange


def diagnose(run: Run) -> tuple[Finding, ...]:
    """All that the rules find in a run, causes first.

    The same run always gives the same findings, live or reloaded.

    Returns:
        Root causes ranked by severity and confidence, their symptoms nested; empty for
        a healthy run. A rule that raises is told as an ND000 of severity ``"info"``
        and does not end the diagnosis.
    """
    return arrange([finding for rule in CATALOGUE for finding in _apply(rule, run)])


def _apply(rule: Rule, run: Run) -> tuple[Finding, ...]:
    try:
        return tuple(rule.examine(run))
    except Exception as error:
        return (rule_failed.describe(rule.code, rule.name, error),)
