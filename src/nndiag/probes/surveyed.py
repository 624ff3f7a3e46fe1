"""What a survey has seen, and the marks that it justifies."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from nndiag.jaxprs.bodies import Path
from nndiag.jaxprs.location import Location, join
from nndiag.jaxprs.marks import Mark
from nndiag.probes.curves import Activated
from nndiag.probes.facts import Fact
from nndiag.probes.loops import Loop, Surroundings
from nndiag.probes.plan import Plan, Planned, Use, Visit
from nndiag.records import Site


class Candidate(NamedTuple):
    """A value that may be the activation of a layer."""

    path: Path
    variable: Any
    activated: Activated
    order: int
    location: Location
    fact: Fact
    from_layer: bool


class Place(NamedTuple):
    """A value of the program."""

    path: Path
    variable: Any
    order: int
    location: Location


# A softplus right after the last layer is a loss (−log σ), not a layer.
_NO_OUTPUT = {"softplus"}


@dataclass
class Surveyed:
    """What one pass over a loss has seen so far.

    Attributes:
        candidates: what may be activations.
        feeding: orders of the candidates that a layer reads.
        inputs: what the first layers read.
        softmax: what the last softmax reads.
        uses, layers, around, visits, unseen: as in `Plan`.
    """

    candidates: list[Candidate] = field(default_factory=list)
    feeding: set[int] = field(default_factory=set)
    inputs: list[Place] = field(default_factory=list)
    softmax: Place | None = None
    uses: dict[int, Use] = field(default_factory=dict)
    layers: dict[int, tuple[Loop, ...]] = field(default_factory=dict)
    around: dict[Path, Surroundings] = field(default_factory=dict)
    visits: dict[Path, Visit] = field(default_factory=dict)
    unseen: set[str] = field(default_factory=set)

    def note_input(self, place: Place) -> None:
        """Takes in what a first layer reads, once."""
        if all(
            (place.path, place.variable) != (i.path, i.variable) for i in self.inputs
        ):
            self.inputs.append(place)

    def plan(self, call: int) -> Plan:
        """The marks that the whole pass justifies."""
        plan = Plan(
            uses=self.uses,
            layers=self.layers,
            around=self.around,
            visits=self.visits,
            unseen=self.unseen,
        )
        used: Counter[str] = Counter()
        for place in self.inputs:
            site = self._site(_numbered("input", used), "input", place)
            _add(plan, place.path, place.variable, Planned(Mark("value", site, call)))
        for candidate in self.candidates:
            function = candidate.activated.function
            closes = candidate.from_layer and function not in _NO_OUTPUT
            if candidate.order not in self.feeding and not closes:
                continue
            key = _numbered(join(candidate.location.scope, function), used)
            site = self._site(key, "activation", candidate, function)
            mark = Mark("value", site, call, candidate.fact.unit_axis)
            _add(
                plan,
                candidate.path,
                candidate.variable,
                Planned(mark, (candidate.activated.root,)),
            )
        # What a layer reads, as of the gates of experts, is not what the loss reads.
        if self.softmax is not None and self.softmax.order not in self.feeding:
            site = self._site(_numbered("logits", used), "logits", self.softmax)
            planned = Planned(Mark("value", site, call))
            _add(plan, self.softmax.path, self.softmax.variable, planned)
        return plan

    def _site(self, key: str, kind: Any, place: Any, function: str = "") -> Site:
        return Site(
            key,
            kind=kind,
            scope=place.location.scope,
            function=function,
            order=place.order + self.around[place.path].shift,
            dtype=str(place.variable.aval.dtype),
            shape=tuple(place.variable.aval.shape),
            file=place.location.file,
            line=place.location.line,
            axes=self.around[place.path].axes,
        )


def _add(plan: Plan, path: Path, variable: Any, planned: Planned) -> None:
    plan.marks.setdefault(path, {}).setdefault(variable, [planned])


def _numbered(key: str, used: Counter[str]) -> str:
    used[key] += 1
    return key if used[key] == 1 else f"{key}#{used[key]}"
