"""# ND401 nonfinite_value

## What it measures

Whether the loss is finite, at every step; whether loss, gradients and new parameters
are, at every recorded step; and in the first bad recorded step, which reading is NaN
or infinite first: parameters before the step, then values in forward order, then the
loss, then cotangents and gradients from the output back. Where the step was replayed,
the equation that made the first NaN or Inf: its line, its numbers, and the line to
write instead.

## Why it matters

A NaN spreads: one step later every parameter is NaN, and the rest of the run is lost.

## When it fires

At the first step whose loss, gradients or new parameters are not finite. It is an
error; if the run recovers and the loss itself was finite throughout, as with dynamic
loss scaling, which skips a step whose gradient overflows, it is told as information. An
infinity that leaves loss and gradients
finite, such as an attention mask, is not reported.

## What to do

Look at the place named, and at what leads into it: a logarithm or division at 0, an
exponential or square beyond the type, a square root whose argument reaches 0 (its
gradient is infinite). Lower the learning rate if the values grew there. Nothing, if a
loss scale is meant to find its size by steps that are skipped.

## Known limits

Between two recorded steps only the loss is known: the place is that of the first
*recorded* bad step. Record every step (`--every 1`) to see where it began. The
equation is known only of a run that holds the autopsy of a step.

## References

- JAX documentation, "Debugging runtime values": `jax_debug_nans`.
"""  # noqa: D415 (the first line is a heading)

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np

from nndiag.records import Evidence, Finding, Role, Run, Site
from nndiag.rules import autopsied
from nndiag.rules.headroom import RANGE, narrow
from nndiag.rules.measures import recovered
from nndiag.rules.words import name

_QUANTITIES = ("largest", "norm", "std")

_WORDS: dict[Role, str] = {
    "parameter": "in the parameter {}",
    "value": "in the value of {}",
    "cotangent": "in the cotangent of {}",
    "gradient": "in the gradient of {}",
    "update": "in the update of {}",
}


def examine(run: Run) -> Iterator[Finding]:
    """At most one finding, on the first bad step."""
    loss_bad = run.steps[~np.isfinite(run.loss)].tolist()
    step_bad = run.recorded[~run.finite].tolist()
    replayed = sorted(
        step for step, found in run.autopsies.items() if found.reaches_output
    )
    bad = (*loss_bad, *step_bad, *replayed[:1])
    if not bad:
        return
    first = min(bad)
    seen = _origin(run)
    what = "The loss" if first in loss_bad else _outcome(run, seen)
    value = float(run.loss[run.steps == first][0]) if first in loss_bad else np.nan
    title = f"{what} is {_kind(what, value)} at step {first}"
    finding = Finding(
        code="ND401",
        name="nonfinite_value",
        title=f"{title}{_place(seen, first)}{_end(run)}.",
        severity="info" if recovered(run) else "error",
        confidence=1.0,
        sites=(seen.site,) if seen and seen.site else (),
        first_step=first,
        last_step=max(bad),
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
    yield _replay(run, replayed[0], title, finding) if replayed else finding


def _place(seen: _Seen | None, first: int) -> str:
    """Where the readings show it, as the end of the title."""
    if seen is None:
        return ""
    later = f" at step {seen.step}" if seen.step != first else ""
    verb = "made" if seen.role == "loss" else "first seen"
    return f", {verb} {seen.place}{later}"


def _replay(run: Run, step: int, title: str, finding: Finding) -> Finding:
    """The finding with what the replay of a step says: the equation itself."""
    autopsy = run.autopsies[step]
    other = f" (step {step} replayed)" if step != finding.first_step else ""
    return replace(
        finding,
        title=f"{title}: {autopsied.story(autopsy)}{other}.",
        sites=autopsied.sites(run, autopsy),
        evidence=(*autopsied.evidence(autopsy), *finding.evidence),
        cause=autopsied.cause(autopsy),
        remedies=autopsied.remedies(autopsy) or finding.remedies,
        autopsy=autopsy,
    )


def _outcome(run: Run, seen: _Seen | None) -> str:
    """What of a step with a finite loss is not."""
    backward = seen is not None and seen.role in ("cotangent", "gradient")
    # a parameter that is not finite stays so
    return "A gradient" if backward and recovered(run) else "A gradient or parameter"


def _end(run: Run) -> str:
    """What became of it, as the end of the title."""
    return "; the run got over it" if recovered(run) else ""


def _kind(what: str, value: float) -> str:
    if what != "The loss":
        return "NaN or infinite"
    return "infinite" if np.isinf(value) else "NaN"


class _Seen(NamedTuple):
    """The first reading that is not finite: when, in what, and where in words."""

    step: int
    role: Role | Literal["loss"]
    site: Site | None
    place: str


def _origin(run: Run) -> _Seen | None:
    """The first reading that is not finite, in the order of computation."""
    bad = np.flatnonzero(~run.finite)
    if not bad.size:
        return None
    at = int(bad[0])
    step = int(run.recorded[at])
    order: tuple[Role, ...] = ("parameter", "value")
    loss = _loss(run, step)
    if loss is None or np.isfinite(loss):
        order = ("parameter", "value", "cotangent", "gradient", "update")
    sites = _values(run)
    for role in order:
        back = role in ("cotangent", "gradient")
        for site in sites[::-1] if back else sites:
            if any(_bad(run, role, quantity, site, at) for quantity in _QUANTITIES):
                return _Seen(step, role, site, _WORDS[role].format(name(site)))
    return None if "gradient" in order else _before_loss(run, at)


def _values(run: Run) -> tuple[Site, ...]:
    """The sites but operations, of which not the value but the peak is known."""
    return tuple(site for site in run.sites if site.kind != "operation")


def _loss(run: Run, step: int) -> float | None:
    """The loss of a step, `None` if it reported none."""
    losses = run.loss[run.steps == step]
    return float(losses[0]) if losses.size else None


def _before_loss(run: Run, at: int) -> _Seen:
    """The loss is the first that is not finite: after which value was it made?"""
    step = int(run.recorded[at])
    for site in _values(run)[::-1]:
        if any(np.isfinite(run.series("value", q, site)[at]) for q in _QUANTITIES):
            what = site if site == site.kind else f"{site.kind} {name(site)}"
            place = f"between the {what} and the loss"
            return _Seen(step, "loss", site, place)
    return _Seen(step, "loss", None, "in the forward pass, of which no value was read")


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
        if not run.finite.all():
            return "None of the readings of that step shows where it was made."
        return "The step was not recorded: only its loss is known."
    step = seen.step
    if seen.role == "parameter":
        before = "an earlier step left it" if step else "the run started from it"
        return f"NaN or infinity stood {seen.place} when step {step} began: {before}."
    if seen.role == "loss" and seen.site is None:
        return f"The loss of step {step} is not finite; no value before it was read."
    if seen.role == "loss":
        return (
            f"All values measured in step {step} were finite, but the loss was not: it "
            f"was made {seen.place}, by a logarithm or division of 0, or by an "
            "exponential that overflowed."
        )
    if dtype := _overflowed(run, seen):
        return (
            f"A gradient left the range of {dtype}, which ends at "
            f"2^{RANGE[dtype]:.0f}; the loss and the parameters after it stayed "
            "finite, as where a loss scale is too large and such steps are skipped."
        )
    if seen.role in ("cotangent", "gradient"):
        known = _loss(run, step) is not None
        return (
            f"All values measured in the forward pass of step {step} were finite"
            f"{', and so was the loss' if known else ''}; the first that was not stood "
            f"{seen.place}: it was made in the backward pass."
        )
    if seen.role == "update":
        return (
            f"Loss and gradients of step {step} were finite: the optimizer made what "
            f"stands {seen.place}."
        )
    return f"In step {step} all before it in forward order was finite."


def _overflowed(run: Run, seen: _Seen | None) -> str:
    """The narrow type of a gradient that overflowed and was left out, "" of others."""
    if seen is None or seen.site is None or seen.role not in ("cotangent", "gradient"):
        return ""
    return seen.site.dtype if recovered(run) and narrow(seen.site) else ""


_SKIPPED = (
    "Nothing, if the loss scale is meant to find its size by steps that are skipped.",
    "Otherwise lower the loss scale, or compute this part in float32 or bfloat16.",
)

_PLACES: dict[str, str] = {
    "loss": "Keep the argument of a logarithm or division there away from 0 (clip it "
    "to 1e-7 or more), or use the stable form (log_softmax, logsumexp).",
    "backward": "Look for a square root, norm or division whose argument reaches 0 "
    "there, and keep the argument away from 0 before the operation.",
    "forward": "Look for a logarithm, division, exponential or square that leaves the "
    "range of the type there; use the stable form (log_softmax, logsumexp).",
}


def _remedies(run: Run, first: int, seen: _Seen | None) -> tuple[str, ...]:
    if _overflowed(run, seen):
        return _SKIPPED
    backward = seen is not None and seen.role in ("cotangent", "gradient")
    at_loss = seen is not None and seen.role == "loss"
    remedies = [_PLACES["loss" if at_loss else "backward" if backward else "forward"]]
    if first > 0:
        remedies.append("Lower the learning rate, and clip the norm of the gradient.")
    begun_earlier = seen is None or seen.step > first or seen.role == "parameter"
    if run.header.every > 1 and first > 0 and begun_earlier:
        remedies.append(f"Record every step up to step {first}, to see where it began.")
    return tuple(remedies)
