"""A stored run, read back."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nndiag.notebook import Shown
from nndiag.records.autopsy import Autopsy
from nndiag.records.coverage import Coverage
from nndiag.records.examples import Examples
from nndiag.records.readings import Role
from nndiag.records.site import Site
from nndiag.records.tables import Floats, Integers, Tables

NAN_CHECK_REVIVED = (
    "JAX had switched its own jax_debug_nans check off while it traced, as it does "
    "since 0.8; nndiag switched it on again."
)
"""The note of a run in which `jax_debug_nans` was on and checked nothing."""

Status = Literal["running", "finished", "interrupted", "stopped", "failed"]


@dataclass(frozen=True, kw_only=True)
class Header:
    """What was run, with what, on what: the contents of ``run.json``.

    Attributes:
        target: the target's import string, ``""`` for a recorded loop.
        command: the command line.
        seed: of the run's random key; says nothing of a recorded loop.
        every: one step in `every` was recorded.
        watched: the parts that were watched (``"saturation"``, ``"gradients"``,
            ``"updates"``, ``"overflow"``, ``"histograms"``, ``"units"``,
            ``"examples"``).
        steps_planned: number of steps that were asked for, 0 if unknown.
        settings: the target's knobs.
        versions: of python, jax, jaxlib, numpy, nndiag.
        device: platform and name of the device, such as ``"cpu"``.
        git: revision of the repository that holds the program, ``""`` if none does.
        started: UTC, ISO 8601.
    """

    target: str = ""
    command: str = ""
    seed: int = 0
    every: int = 1
    watched: tuple[str, ...] = ()
    steps_planned: int = 0
    settings: Mapping[str, object] = field(default_factory=dict[str, object])
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    device: str = ""
    git: str = ""
    started: str = ""


@dataclass(frozen=True)
class Layer:
    """One row of the layer table: an activation and the parameters that feed it.

    Attributes:
        name: the scope, or the activation's key where there is no scope.
        activation: its activation site, `None` for a layer that ends without one.
        parameters: its parameter sites, in order of use.
    """

    name: str
    activation: Site | None
    parameters: tuple[Site, ...]


@dataclass(frozen=True, kw_only=True)
class Run(Shown):
    """A stored run, read back: all that rules and reports may see.

    Attributes:
        path: the run directory.
        header: what was run.
        status: how it ended; a killed run stays ``"running"``.
        seconds: duration up to the last stored step.
        sites: every site, in forward order.
        steps: numbers of all steps that reported a loss, shape ``(S,)``.
        loss: their losses, shape ``(S,)``; NaN and Inf kept.
        metrics: other per-step scalars by name, shape ``(S,)`` each.
        evaluations: held-out metrics: name to (steps, values).
        recorded: numbers of the steps with readings, shape ``(R,)``.
        finite: whether loss, gradients and parameters were finite, shape ``(R,)``.
        readings: ``(role, quantity, site)`` to its series of shape ``(R,)``.
        samples: ``(site, step)`` to up to 256 elements of the activation.
        notes: what nndiag could not see or lost, one sentence each.
        autopsies: what replays of its steps found, by step, in their order.
        coverage: which rows of its embedding tables ever had a gradient.
        vectors: ``(role, quantity, site, step)`` to a ``"histogram"`` of a gradient or
            update (see `nndiag.records.HISTOGRAM_BINS`), or to the ``"units"`` of an
            activation, shape ``(2, units)``: mean, and share saturated.
        examples: by step, which examples of the batch pulled hardest.
    """

    path: Path
    header: Header
    status: Status
    seconds: float
    sites: tuple[Site, ...]
    steps: Integers
    loss: Floats
    metrics: Mapping[str, Floats]
    evaluations: Mapping[str, tuple[Integers, Floats]]
    recorded: Integers
    finite: NDArray[np.bool_]
    # thousands of arrays, which no line of text could show
    readings: Mapping[tuple[Role, str, Site], Floats] = field(repr=False)
    samples: Mapping[tuple[Site, int], Floats] = field(repr=False)
    notes: tuple[str, ...]
    autopsies: Mapping[int, Autopsy] = field(default_factory=dict[int, Autopsy])
    coverage: Mapping[Site, Coverage] = field(
        default_factory=dict[Site, Coverage], repr=False
    )
    vectors: Mapping[tuple[Role, str, Site, int], Floats] = field(
        default_factory=dict[tuple[Role, str, Site, int], Floats], repr=False
    )
    examples: Mapping[int, Examples] = field(
        default_factory=dict[int, Examples], repr=False
    )

    def series(self, role: Role, quantity: str, site: Site) -> Floats:
        """Readings of one quantity over the recorded steps, NaN where not measured.

        Returns:
            float64 array of shape ``(R,)``, aligned with `recorded`.
        """
        found = self.readings.get((role, quantity, site))
        return np.full(self.recorded.shape, np.nan) if found is None else found

    def stacked(self, role: Role, quantity: str, sites: Sequence[Site]) -> Floats:
        """The series of many sites, one below the other.

        Returns:
            A new float64 array of shape ``(len(sites), R)``; see `series`.
        """
        if isinstance(self.readings, Tables):
            return self.readings.stacked(role, quantity, sites, len(self.recorded))
        rows = np.full((len(sites), len(self.recorded)), np.nan)
        for row, site in zip(rows, sites, strict=True):
            found = self.readings.get((role, quantity, site))
            if found is not None:
                row[:] = found
        return rows

    def of_kind(self, kind: str) -> tuple[Site, ...]:
        """The sites of one kind, in forward order."""
        return self._kinds.get(kind, ())

    def layers(self) -> tuple[Layer, ...]:
        """The network as layers, from input to output.

        A parameter belongs to the activation of its own scope; without scopes, to
        the next activation after it. What is left over forms layers of its own.
        """
        return self._layers

    @cached_property
    def _kinds(self) -> dict[str, tuple[Site, ...]]:
        kinds: dict[str, list[Site]] = {}
        for site in self.sites:
            kinds.setdefault(site.kind, []).append(site)
        return {kind: tuple(sites) for kind, sites in kinds.items()}

    @cached_property
    def _layers(self) -> tuple[Layer, ...]:
        activations = self.of_kind("activation")
        closing = _by_scope(activations)
        owned: dict[Site, list[Site]] = {site: [] for site in activations}
        loose: dict[str, list[Site]] = {}
        last = max((site.order for site in activations), default=-1)
        for parameter in self.of_kind("parameter"):
            owner = _owner(parameter, closing)
            if owner is not None:
                owned[owner].append(parameter)
            else:
                own = "output" if parameter.order >= last else str(parameter)
                loose.setdefault(parameter.scope or own, []).append(parameter)
        layers = [
            (site.order, Layer(site.scope or str(site), site, tuple(parameters)))
            for site, parameters in owned.items()
        ] + [
            (parameters[0].order, Layer(scope, None, tuple(parameters)))
            for scope, parameters in loose.items()
        ]
        return tuple(layer for _, layer in sorted(layers, key=lambda pair: pair[0]))


_Scopes = dict[str, tuple[list[int], list[Site]]]


def _by_scope(activations: Sequence[Site]) -> _Scopes:
    """The activations of each scope and their orders, both in forward order."""
    scopes: _Scopes = {}
    for site in sorted(activations, key=lambda site: site.order):
        orders, sites = scopes.setdefault(site.scope, ([], []))
        orders.append(site.order)
        sites.append(site)
    return scopes


def _owner(parameter: Site, activations: _Scopes) -> Site | None:
    """The activation that closes the layer of `parameter`, if there is one."""
    orders, sites = activations.get(parameter.scope, ([], []))
    at = bisect_right(orders, parameter.order)
    return sites[at] if at < len(sites) else None
