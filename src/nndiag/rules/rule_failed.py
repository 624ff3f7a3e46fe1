"""# ND000 rule_failed

## What it measures

Nothing of the run: that a rule of nndiag ended in an error on it.

## Why it matters

The disease that the rule looks for may or may not be there. A diagnosis that left it
out in silence would look healthier than it is known to be.

## When it fires

When a rule raises an exception. The other rules are not touched by it.

## What to do

Report it with the run directory, or with the exception that the finding quotes.

## Known limits

It is a fault of nndiag, never of the run.

## References

- `nndiag.rules.diagnosis.diagnose`
"""  # noqa: D415 (the first line is a heading)

from __future__ import annotations

from nndiag.records import Finding


def describe(code: str, name: str, error: Exception) -> Finding:
    """The finding that stands for a rule that raised."""
    return Finding(
        code="ND000",
        name="rule_failed",
        title=f"Whether {code} {name} holds is unknown, since its rule failed.",
        severity="info",
        confidence=1.0,
        sites=(),
        first_step=0,
        last_step=0,
        evidence=(),
        cause=f"{type(error).__name__}: {error}",
        remedies=("Report this fault of nndiag, with the run directory if you can.",),
        picture="",
    )
