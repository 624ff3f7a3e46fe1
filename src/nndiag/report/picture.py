"""The pictures of a report: the numbers to draw, already thinned, and no looks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from nndiag.records import Floats, Integers

LineStyle = Literal["main", "minor", "marked"]


@dataclass(frozen=True, kw_only=True)
class Caption:
    """What every picture has.

    Attributes:
        name: the picture's short name, unique in a report (``"saturation"``).
        title: what it shows.
        hint: how to read it, in one sentence.
        alternative: what a sighted reader would take from it, with numbers.
    """

    name: str
    title: str
    hint: str
    alternative: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a `Series`.

    Attributes:
        label: its name.
        steps: its points on the axis of steps.
        values: their values, finite.
        depth: position of its layer from input (0) to output (1).
        style: ``"main"``, ``"minor"`` (unlabelled: a bias) or ``"marked"`` (few points,
            each of them shown).
    """

    label: str
    steps: Integers
    values: Floats
    depth: float = 0.0
    style: LineStyle = "main"


@dataclass(frozen=True, kw_only=True)
class Area:
    """Where many lines run that are too many to be drawn.

    Attributes:
        steps: its points on the axis of steps.
        low: lower bound there.
        high: upper bound there.
    """

    steps: Integers
    low: Floats
    high: Floats


@dataclass(frozen=True, kw_only=True)
class Series(Caption):
    """Lines over steps.

    Attributes:
        lines: the lines, in forward order.
        areas: what stands for lines that are not drawn, the widest first.
        quantity: what the vertical axis counts, with its unit.
        logarithmic: whether the vertical axis is.
        band: the range that is healthy.
        guide: a value worth a line of its own.
        floor: the end of the scale, to be in sight; `None` where it has none.
        broken: steps at which the quantity was NaN or Inf.
    """

    lines: tuple[Line, ...]
    quantity: str
    areas: tuple[Area, ...] = ()
    logarithmic: bool = False
    band: tuple[float, float] | None = None
    guide: float | None = None
    floor: float | None = None
    broken: Integers = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True, kw_only=True)
class Heatmap(Caption):
    """Shares between 0 and 1 by layer and step.

    Attributes:
        rows: names of the layers, from input to output.
        steps: first step of each column.
        values: of shape ``(rows, columns)``, NaN where not measured.
        last: the last measured value of each row.
    """

    rows: tuple[str, ...]
    steps: Integers
    values: Floats
    last: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Profile(Caption):
    """One quantity over the depth of the network, at the first and the last step.

    Attributes:
        rows: names of the layers, from input to output.
        quantity: what is shown, with its unit.
        first: values at the first recorded step, NaN where not measured.
        last: values at the last recorded step.
        first_step: number of the first recorded step.
        last_step: number of the last recorded step.
    """

    rows: tuple[str, ...]
    quantity: str
    first: Floats
    last: Floats
    first_step: int
    last_step: int


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """The values of one layer at two steps, counted in common bins.

    Attributes:
        label: name of the layer.
        edges: borders of the bins, shape ``(B + 1,)``.
        first: share of the first step's values in each bin, shape ``(B,)``.
        last: share of the last step's values in each bin; all 0 if there is no
            second step.
    """

    label: str
    edges: Floats
    first: Floats
    last: Floats


@dataclass(frozen=True, kw_only=True)
class Distribution(Caption):
    """How the values of each layer are spread, at the first and the last sample.

    Attributes:
        rows: one histogram per layer, from input to output.
        first_step: step of the first sample.
        last_step: step of the last sample.
    """

    rows: tuple[Histogram, ...]
    first_step: int
    last_step: int


@dataclass(frozen=True, kw_only=True)
class Node:
    """One station of a `Flow`.

    Attributes:
        state: what it handed on (``"Inf"``, ``"NaN"``), ``""`` for one that made none.
        name: the equation's primitive, or what else it is.
        place: the line of source, the control flow and the pass, in words.
    """

    state: str
    name: str
    place: str = ""


@dataclass(frozen=True, kw_only=True)
class Flow(Caption):
    """The way of a value through a program, first station first."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, kw_only=True)
class ErrorMap(Caption):
    """Relative errors of the elements of one array, laid out as a plane.

    Attributes:
        values: of blocks of the plane, the largest error in each, NaN where no element
            was looked at.
        rows: height of the plane in elements; all axes of the array but the last.
        columns: width of the plane in elements; the last axis.
        vertical: name of the vertical axis, ``""`` where there is one row.
        horizontal: name of the horizontal axis.
        worst: row and column of the largest error, `None` if it is not known.
        label: what is said of that element.
    """

    values: Floats
    rows: int
    columns: int
    vertical: str
    horizontal: str
    worst: tuple[int, int] | None = None
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class Remainders(Caption):
    """How the remainder of a linear approximation falls with the step.

    Attributes:
        steps: the steps, positive.
        values: the remainder at each, positive.
        order: slope of the fit, NaN if there is none.
    """

    steps: Floats
    values: Floats
    order: float


Picture = Series | Heatmap | Profile | Distribution | Flow | ErrorMap | Remainders
