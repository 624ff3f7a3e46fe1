"""# ND404 masked_nonfinite

## What it measures

Whether a replayed step made a NaN or an infinity that its outputs do not show: dropped
by `where`, `nansum` or a gather, swallowed by `argmax` or a comparison, or absorbed as
1/Inf = 0.

## Why it matters

The result is finite and wrong, or finite by luck: a float16 square that overflows makes
`x * rsqrt(mean(x**2))` zero without a word. What a `where` hides in the forward pass
comes back as 0·Inf = NaN in its gradient.

## When it fires

When a run holds the autopsy of a step whose first NaN or infinity does not reach an
output. It is a warning.

## What to do

Make it not arise: put the `where` around the *argument* of the operation as well as
around its result, or compute in a wider type what overflows.

## Known limits

Only a replayed step is known. By default the autopsy leaves out what a selection drops
and a pole that is absorbed, since both are often meant; `ignore_masked=False` reports
them, too.

## References

- JAX documentation, "Frequently asked questions": gradients contain NaN where using
  `where`.
"""  # noqa: D415 (the first line is a heading)

from __future__ import annotations

from collections.abc import Iterator

from nndiag.records import Finding, Run
from nndiag.rules import autopsied

_REMEDY = "Keep the argument in range before the operation, or compute in a wider type."


def examine(run: Run) -> Iterator[Finding]:
    """At most one finding, on the first replayed step that hid one."""
    hidden = sorted(
        step for step, found in run.autopsies.items() if not found.reaches_output
    )
    if not hidden:
        return
    step = hidden[0]
    autopsy = run.autopsies[step]
    yield Finding(
        code="ND404",
        name="masked_nonfinite",
        title=f"At step {step} {autopsied.story(autopsy)}, and no output shows it.",
        severity="warning",
        confidence=1.0,
        sites=autopsied.sites(run, autopsy),
        first_step=step,
        last_step=step,
        evidence=autopsied.evidence(autopsy),
        cause=autopsied.cause(autopsy),
        remedies=autopsied.remedies(autopsy) or (_REMEDY,),
        picture="headroom",
        autopsy=autopsy,
    )
