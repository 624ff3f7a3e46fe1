"""Where marks are to be placed in a function that is about to be differentiated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from nndiag.jaxprs.bodies import Path
from nndiag.jaxprs.location import Location
from nndiag.jaxprs.marks import Mark
from nndiag.probes.loops import Loop, Surroundings
from nndiag.records import Axis


class Planned(NamedTuple):
    """A mark to be placed on a variable, with the variables that ride along."""

    mark: Mark
    riders: tuple[Any, ...] = ()


class Sentinel(NamedTuple):
    """A mark to be placed at one equation, seen by no other.

    Attributes:
        mark: what is said of the operand or result.
        operand: number of the operand that is marked; `None` for the result.
        riders: numbers of the operands that ride along.
    """

    mark: Mark
    operand: int | None
    riders: tuple[int, ...] = ()


class Made(NamedTuple):
    """A mark to be placed on what an equation makes with a parameter.

    Attributes:
        mark: what is said of the result.
        riders: numbers of the operands that ride along to the cotangent.
    """

    mark: Mark
    riders: tuple[int, ...] = ()


class Use(NamedTuple):
    """Where a parameter first meets data."""

    order: int
    location: Location


class Visit(NamedTuple):
    """What the survey saw at an equation.

    Attributes:
        order: its place in the program.
        root: the pre-activation, if the equation makes an activation.
    """

    order: int
    root: Any = None


@dataclass
class Plan:
    """What is to be marked.

    Attributes:
        marks: for each body, the marks to place on its variables.
        sentinels: for each body, the marks to place at its equations, by number.
        made: for each body, where a parameter meets an example, by equation.
        uses: for each differentiated leaf that is used, where it first is.
        layers: for each leaf that is scanned over, the scans over its leading axes.
        around: for each body that the survey entered, where it stands.
        visits: for each equation that the survey came by, its body and number.
        unseen: primitives with layers inside that cannot be entered.
        tables: numbers of the differentiated leaves whose rows are looked up.
    """

    marks: dict[Path, dict[Any, list[Planned]]] = field(default_factory=dict)
    sentinels: dict[Path, dict[int, Sentinel]] = field(default_factory=dict)
    made: dict[Path, dict[int, Made]] = field(default_factory=dict)
    uses: dict[int, Use] = field(default_factory=dict)
    layers: dict[int, tuple[Loop, ...]] = field(default_factory=dict)
    around: dict[Path, Surroundings] = field(default_factory=dict)
    visits: dict[Path, Visit] = field(default_factory=dict)
    unseen: set[str] = field(default_factory=set)
    tables: set[int] = field(default_factory=set)

    def at(self, path: Path) -> dict[Any, list[Planned]]:
        """The marks of one body."""
        return self.marks.get(path, {})

    def within(self, path: Path) -> bool:
        """Whether any mark stands in the body at `path` or deeper."""
        return any(
            other[: len(path)] == path
            for other in (*self.marks, *self.sentinels, *self.made)
        )

    def order(self, place: Path) -> int:
        """The survey's number of an equation, or of the call that it stands in."""
        while place not in self.visits:
            place = place[:-2]
        around = self.around.get(place[:-1])
        return self.visits[place].order + (0 if around is None else around.shift)

    def axes(self, place: Path) -> tuple[Axis, ...]:
        """Of readings at an equation: those of the innermost body that was surveyed."""
        while place[:-1] not in self.around:
            place = place[:-2]
        return self.around[place[:-1]].axes
