"""# ND401 nonfinite_value

## What it measures

Whether the loss is finite, at every step; whether loss, gradients and new parameters
are, at every recorded step; and in the first bad recorded step, which reading is NaN
or infinite first: parameters before the step, then values in forward order, then
cotangents and gradients from the output back.

## Why it matters

A NaN spreads: one step later every parameter is NaN, and the rest of the run is lost.

## When it fires

At the first step whose loss, gradients or new parameters are not finite. It is an
error; if the run recovers and the loss itself was finite throughout, as with dynamic
loss scaling, it is told as information. An infinity that leaves loss and gradients
finite, such as an attention mask, is not reported.

## What to do

Look at the place named, and at what leads into it: a logarithm or division at 0, an
exponential or square beyond the type, a square root whose argument reaches 0 (its
gradient is infinite). Lower the learning rate if the values grew there.

## Known limits

Between two recorded steps only the loss is known: the place is that of the first
*recorded* bad step. Record every step (`--every 1`) to see where it began.

## References

- JAX documentation, "Debugging runtime values": `jax_debug_nans`.
"""  # noqa: D415 (the first line is a heading)

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nndiag.records import Evidence, Finding, Role, Run, Severity, Site
from nndiag.rules.words import name

_QUANTITIES = ("largest", "norm", "std")


def examine(run: Run) -> Iterator[Finding]:
    """At most one finding, on the first bad step."""
    loss_bad = run.steps[~np.isfinite(run.loss)]
    step_bad = run.recorded[~run.finite]
    both = sorted([*loss_bad[:1].tolist(), *step_bad[:1].tolist()])
    if not both:
        return
    first = both[0]
    seen = _origin(run)
    place = f", first in {seen[2]} at step {seen[0]}" if seen else ""
    site = (seen[1],) if seen else ()
    what = "The loss" if first in loss_bad[:1] else "A gradient or parameter"
    value = float(run.loss[run.steps == first][0]) if first in loss_bad[:1] else np.nan
    yield Finding(
        code="ND401",
        name="nonfinite_value",
        title=f"{what} is {'infinite' if np.isinf(value) else 'NaN or infinite'} at "
        f"step {first}{place}.",
        severity=_severity(run),
        confidence=1.0,
        sites=site,
        first_step=first,
        last_step=max([*loss_bad[-1:].tolist(), *step_bad[-1:].tolist()]),
        evidence=(
            Evidence(
                quantity="steps with a loss that is not finite", value=len(loss_bad)
            ),
            Evidence(
                quantity="recorded steps with a loss, gradient or parameter that is "
                "not finite",
                value=len(step_bad),
                threshold=0.0,
                source="one is enough",
            ),
        ),
        cause=_cause(run, seen),
        remedies=_remedies(run, first, seen),
        picture="headroom",
    )


def _severity(run: Run) -> Severity:
    spared = np.isfinite(run.loss).all() and len(run.recorded) > 0
    return "info" if spared and bool(run.finite[-1]) else "error"


_Seen = tuple[int, Site, str, Role]


def _origin(run: Run) -> _Seen | None:
    """Step, site, place in words and role of the first reading that is not finite."""
    bad = np.flatnonzero(~run.finite)
    if not bad.size:
        return None
    at = int(bad[0])
    forward, backward = run.sites, run.sites[::-1]
    order: tuple[tuple[Role, tuple[Site, ...], str], ...] = (
        ("parameter", forward, "the parameter {}"),
        ("value", forward, "the value of {}"),
        ("cotangent", backward, "the cotangent of {}"),
        ("gradient", backward, "the gradient of {}"),
        ("update", forward, "the update of {}"),
    )
    for role, sites, words in order:
        for site in sites:
            if any(_bad(run, role, quantity, site, at) for quantity in _QUANTITIES):
                place = words.format(name(site))
                return int(run.recorded[at]), site, place, role
    return None


def _bad(run: Run, role: Role, quantity: str, site: Site, at: int) -> bool:
    """Whether a reading is not finite, though it is one that was measured.

    A series that is NaN throughout was measured if the run was bad throughout: only
    those of `run.readings` can be.
    """
    series = run.readings.get((role, quantity, site))
    if series is None or np.isfinite(series[at]):
        return False
    return bool(np.isinf(series[at]) or at == 0 or np.isfinite(series[:at]).any())


def _cause(run: Run, seen: _Seen | None) -> str:
    if seen is None:
        return "The step was not recorded: only its loss is known."
    step, _, place, role = seen
    if role == "parameter":
        return (
            f"When step {step} began, {place} was not finite any more: an earlier "
            "step, between the recorded ones, broke it."
        )
    if role in ("cotangent", "gradient"):
        return (
            f"All values of the forward pass of step {step} were finite; {place} was "
            "not: it was made in the backward pass."
        )
    return f"In step {step} everything before {place} in forward order was finite."


def _remedies(run: Run, first: int, seen: _Seen | None) -> tuple[str, ...]:
    place = (
        "Look for a square root, norm or division whose argument reaches 0 there, and "
        "keep the argument away from 0 before the operation."
        if seen and seen[3] in ("cotangent", "gradient")
        else "Look for a logarithm, division, exponential or square that leaves the "
        "range of the type there; use the stable form (log_softmax, logsumexp)."
    )
    record = (f"Record every step up to step {first}, to see where it begins.",)
    slower = "Lower the learning rate, and clip the norm of the gradient."
    return (place, slower, *(record if run.header.every > 1 else ()))
