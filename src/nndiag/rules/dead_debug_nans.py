"""# ND602 dead_debug_nans

## What it measures

Whether `jax_debug_nans` was on during the run and had stopped checking anything.

## Why it matters

Since JAX 0.8, leaving any `jax.debug_nans(...)` context overwrites the check of the
thread with "none". JAX leaves one itself while it traces `jnp.var`, a `relu`, the
gradient of a scan or of `jax.checkpoint`. From then on everything that is already
compiled runs unchecked: a NaN passes, although the flag still says that it is looked
for.

## When it fires

When nndiag found the check overwritten before a stretch of steps. It switched the check
on again for the run, so the finding is information: the same program without nndiag
runs unchecked.

## What to do

Guard the step with `nndiag.guard` and, when it says that a step was bad, replay it with
`nndiag.autopsy`: that names the line in the backward pass and within loops as well.

## Known limits

Only the thread that trains is looked at, and only under `nndiag run` or a recording.

## References

- JAX documentation, "Debugging runtime values": the flag `jax_debug_nans`.
"""  # noqa: D415 (the first line is a heading)

from __future__ import annotations

from collections.abc import Iterator

from nndiag.records import NAN_CHECK_REVIVED, Evidence, Finding, Run


def examine(run: Run) -> Iterator[Finding]:
    """At most one finding."""
    if NAN_CHECK_REVIVED not in run.notes or not len(run.steps):
        return
    yield Finding(
        code="ND602",
        name="dead_debug_nans",
        title=(
            "jax_debug_nans was on, and JAX (since 0.8) checked nothing until nndiag "
            "mended it."
        ),
        severity="info",
        confidence=1.0,
        sites=(),
        first_step=int(run.steps[0]),
        last_step=int(run.steps[-1]),
        evidence=(
            Evidence(
                quantity="times at least that the check was found switched off",
                value=1.0,
                threshold=0.0,
                source="once is enough",
            ),
        ),
        cause=(
            "JAX switches its own check off when it traces a relu, jnp.var, or the "
            "gradient of a scan; without nndiag this program runs unchecked."
        ),
        remedies=(
            "Guard the step with nndiag.guard, and replay a bad one with "
            "nndiag.autopsy.",
        ),
        picture="loss",
    )
