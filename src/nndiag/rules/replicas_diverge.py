"""# ND211 replicas_diverge

## What it measures

The spread of the updates of a parameter that each device has a copy of: in a
`shard_map` with `check_vma=False`, or a `pmap`, each device measures the norm `‖Δw‖` of
its own update, and the spread is `(max − min) / max` over the devices.

## Why it matters

Data parallel training keeps one network in many copies. Copies that get different
updates are different networks from then on: each learns from its own shard of the data
only, and which of them is saved, evaluated or reported is left to chance. JAX says
nothing, as `check_vma=False` and `pmap` mean "I take care of it".

## When it fires

When the spread of a parameter is above 1e-3 at most of the recorded steps. Copies that
were already different at the first recorded step are taken for an ensemble, whose
members learn apart on purpose.

## What to do

Average the gradients over the devices before the update:
`gradients = jax.lax.pmean(gradients, axis_name)`. Better, let JAX check it: with
`check_vma=True` a copy that is not alike on all devices is an error when the program is
traced.

## Known limits

The losses and gradients of the devices differ before they are averaged; that is as it
should be, and is not looked at here. Copies that are averaged only now and then (local
SGD) look the same. Needs the `updates` part of the watch.

## References

- JAX documentation, "Manual parallelism with shard_map".
"""  # noqa: D415 (the first line is a heading)

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nndiag.records import Evidence, Finding, Floats, Run
from nndiag.rules.thresholds import REPLICA_SPREAD
from nndiag.rules.words import number, places


def examine(run: Run) -> Iterator[Finding]:
    """At most one finding, on all parameters together."""
    parameters = [site for site in run.sites if site.kind == "parameter"]
    updates = run.stacked("update", "spread", parameters)
    copies = run.stacked("parameter", "spread", parameters)
    spreads = {
        site: _spread(update, copy)
        for site, update, copy in zip(parameters, updates, copies, strict=True)
    }
    apart = {s: spread for s, spread in spreads.items() if spread > REPLICA_SPREAD}
    if not apart:
        return
    sites = tuple(sorted(apart, key=lambda site: site.order))
    worst = max(sites, key=lambda site: apart[site])
    yield Finding(
        code="ND211",
        name="replicas_diverge",
        title=f"The copies of the devices diverge: their updates of "
        f"{places(run, sites, worst)} differ by {number(apart[worst])} of their size.",
        severity="error",
        confidence=1.0,
        sites=sites,
        first_step=int(run.recorded[0]),
        last_step=int(run.recorded[-1]),
        evidence=(
            Evidence(
                quantity="(max − min) / max over devices of ‖Δw‖, median of steps",
                value=apart[worst],
                threshold=REPLICA_SPREAD,
                source="0 where gradients are averaged; measured 0.3 to 0.6 where not",
            ),
        ),
        cause="Each device has updated its copy by a gradient of its own: the "
        "gradients were not averaged over the devices before the update.",
        remedies=(
            "Average the gradients: gradients = jax.lax.pmean(gradients, axis_name).",
            "Leave check_vma=True, with which jax.shard_map refuses such a program.",
        ),
        picture="update",
    )


def _spread(updates: Floats, copies: Floats) -> float:
    """The median spread of the updates; 0 if there is none, or none is to be judged."""
    known = updates[~np.isnan(updates)]
    first = copies[~np.isnan(copies)][:1]
    if not known.size or (first > REPLICA_SPREAD).any():
        return 0.0
    return float(np.median(known))
