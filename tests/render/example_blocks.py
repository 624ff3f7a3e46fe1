"""A run of a transformer of many blocks, made by hand: every number in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace as replace
from pathlib import Path
from typing import Any

import numpy as np

from nndiag.records import Finding, Header, Run, Site

PARTS = {"attn": ("softmax", ("qkv", "out")), "mlp": ("tanh", ("w1", "b1"))}
"""Scope within a block to its activation function and its parameters."""


def blocks_run(
    blocks: int = 96,
    *,
    steps: int = 40,
    every: int = 10,
    name: str = "blocks[{}]",
    last: Mapping[tuple[str, str], float] | None = None,
) -> Run:
    """A network of `blocks` blocks with an embedding before and a head behind them.

    Every layer has 10 % of its units saturated, a gradient of 1e-3, an update of 1e-3
    of its weights and a largest value of 4, but for the numbers in `last`: those at the
    last recorded step, by quantity (``"saturated"``, ``"gradient"``, ``"update"``,
    ``"largest"``) and scope.
    """
    given = dict(last or {})
    recorded = np.arange(steps)[::every]
    sites: list[Site] = []
    readings: dict[Any, Any] = {}
    samples: dict[Any, Any] = {}

    def add(key: str, **attributes: Any) -> Site:
        sites.append(Site(key, order=len(sites), **attributes))
        return sites[-1]

    def read(role: str, quantity: str, site: Site, value: float, called: str) -> None:
        series = np.full(recorded.shape, float(value))
        series[-1] = given.get((called, site.scope), value)
        readings[role, quantity, site] = series

    def parameter(scope: str, key: str, shape: tuple[int, ...]) -> None:
        site = add(f"{scope}/{key}", kind="parameter", scope=scope, shape=shape)
        read("parameter", "norm", site, 1.0, "size")
        read("update", "norm", site, 1e-3, "update")
        read("gradient", "norm", site, 1e-2, "steepness")

    parameter("embed", "table", (100, 8))
    for block in range(blocks):
        for part, (function, parameters) in PARTS.items():
            scope = f"{name.format(block)}/{part}"
            for key in parameters:
                parameter(scope, key, (8,) if key.startswith("b") else (8, 8))
            site = add(
                f"{scope}/{function}",
                kind="activation",
                scope=scope,
                function=function,
                shape=(128, 8),
                file="model.py",
                line=10 + len(part),
            )
            read("value", "saturated", site, 0.1, "saturated")
            read("value", "slope", site, 0.5, "slope")
            read("value", "largest", site, 4.0, "largest")
            read("cotangent", "norm", site, 1e-3, "gradient")
            for step in (0, int(recorded[-1])):
                samples[site, step] = np.linspace(-1, 1, 16)
    parameter("head", "w", (8, 100))
    logits = add("logits", kind="logits", shape=(128, 100))
    read("cotangent", "norm", logits, 1e-3, "gradient")
    return Run(
        path=Path("run-4"),
        header=Header(target="big:step", every=every, steps_planned=steps),
        status="finished",
        seconds=1.0,
        sites=tuple(sites),
        steps=np.arange(steps),
        loss=np.geomspace(5.0, 0.5, steps),
        metrics={},
        evaluations={},
        recorded=recorded,
        finite=np.ones(recorded.shape, bool),
        readings=readings,
        samples=samples,
        notes=(),
    )


def finding(
    run: Run, keys: list[str], picture: str, severity: Any = "error"
) -> Finding:
    """A finding about the sites of these keys."""
    known = {str(site): site for site in run.sites}
    return Finding(
        code="ND101",
        name="saturated_activation",
        title="Much is saturated.",
        severity=severity,
        confidence=0.9,
        sites=tuple(known[key] for key in keys),
        first_step=0,
        last_step=int(run.recorded[-1]),
        evidence=(),
        cause="Large weights.",
        remedies=(),
        picture=picture,
    )
