"""The numbers of each layer, at the first and the last recorded step.

With ‖·‖ the Euclidean norm, W a parameter, ΔW its change in one step and L the loss:

- gradient: ‖∂L/∂a‖ of the layer's output a, or ‖∂L/∂W‖ if no such was measured;
- update ratio: ‖ΔW‖ / ‖W‖;
- headroom: log₂(largest number of the dtype / max |x|), in bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nndiag.records import Floats, Layer, Role, Run, Site
from nndiag.report.units import printable
from nndiag.rules.functions import STEEPEST
from nndiag.rules.headroom import headrooms
from nndiag.rules.measures import batches, update_ratios

FIELDS = ("saturation", "slope", "gradient", "update", "headroom")
"""The numbers of a layer: fields of `LayerRow`."""

_ROLES: tuple[Role, ...] = ("value", "cotangent", "parameter", "gradient", "update")


@dataclass(frozen=True)
class Change:
    """A number at the first and the last step that measured it; NaN if none did.

    Only `last` is NaN where the number itself was no longer finite at the end.
    """

    first: float = float("nan")
    last: float = float("nan")


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One row of the layer table.

    Attributes:
        name: of the layer.
        function: its activation function, ``""`` if it has none.
        sites: its activation and its parameters.
        saturation: share of saturated activations, 0 to 1; see `flat_at_zero`.
        slope: mean |f′(z)| of the activation function.
        gradient: norm of the loss's derivative.
        update: update-to-weight ratio of its main parameter.
        headroom: smallest over its sites, in bits.
    """

    name: str
    function: str
    sites: tuple[Site, ...]
    saturation: Change
    slope: Change
    gradient: Change
    update: Change
    headroom: Change

    @property
    def flat_at_zero(self) -> bool:
        """Whether saturation is the normal state of half the units, as in a relu."""
        return self.function not in STEEPEST


@dataclass(frozen=True)
class Ends:
    """One number of all layers, each at the first and the last step that measured it.

    Attributes:
        first: shape (layers,); NaN where no step measured it.
        last: likewise; see `Change`.
    """

    first: Floats
    last: Floats


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """The numbers of all layers of a run, however many: arrays, not rows.

    Attributes:
        layers: from input to output.
        ends: by field of `LayerRow`.
    """

    layers: tuple[Layer, ...]
    ends: Mapping[str, Ends]

    def flat_on_both_sides(self) -> NDArray[np.bool_]:
        """Which layers end in a function whose saturation is no normal state."""
        functions = [function_of(layer) in STEEPEST for layer in self.layers]
        return np.array(functions, np.bool_)

    def row(self, at: int) -> LayerRow:
        """The row of the layer at that position."""
        layer = self.layers[at]
        own = () if layer.activation is None else (layer.activation,)

        def change(field: str) -> Change:
            ends = self.ends[field]
            return Change(float(ends.first[at]), float(ends.last[at]))

        return LayerRow(
            name=printable(layer.name),
            function=printable(function_of(layer)),
            sites=(*own, *layer.parameters),
            saturation=change("saturation"),
            slope=change("slope"),
            gradient=change("gradient"),
            update=change("update"),
            headroom=change("headroom"),
        )


def layer_rows(run: Run) -> tuple[LayerRow, ...]:
    """The layer table of a run, from input to output."""
    numbers = measure(run)
    return tuple(numbers.row(at) for at in range(len(numbers.layers)))


def measure(run: Run) -> Numbers:
    """The numbers of all layers of a run."""
    layers = run.layers()
    activations = [layer.activation for layer in layers]
    return Numbers(
        layers=layers,
        ends={
            "saturation": _ends(run, series_of(run, "value", "saturated", activations)),
            "slope": _ends(run, series_of(run, "value", "slope", activations)),
            "gradient": _ends(run, gradient_norms(run)),
            "update": _ends(run, _updates(run, layers)),
            "headroom": _ends(run, _lowest(run, layers)),
        },
    )


def series_of(
    run: Run, role: Role, quantity: str, sites: Sequence[Site | None]
) -> Floats:
    """The series of sites, shape (sites, R); NaN where there is no site."""
    series = np.full((len(sites), len(run.recorded)), np.nan)
    present = [at for at, site in enumerate(sites) if site is not None]
    known = [site for site in sites if site is not None]
    series[present] = run.stacked(role, quantity, known)
    return series


def gradient_norms(run: Run) -> Floats:
    """‖∂L/∂a‖ of what each layer puts out over the recorded steps, (layers, R).

    A run without derivatives by activations shows ‖∂L/∂W‖ of the layers' main
    parameters instead; the two are never mixed, as they differ in scale.
    """
    layers = run.layers()
    if any(("cotangent", "norm", site) in run.readings for site in run.sites):
        return series_of(run, "cotangent", "norm", _outlets(run, layers))
    return series_of(run, "gradient", "norm", list(map(main_parameter, layers)))


def headroom(run: Run, sites: Sequence[Site]) -> Floats:
    """Bits left before a site overflows: the smallest over value, gradients and update.

    Returns:
        Shape (sites, R); 0 where Inf was reached, NaN where nothing was measured or
        all was zero.
    """
    least = np.full((len(sites), len(run.recorded)), np.nan)
    for role in _ROLES:
        reached = np.isinf(run.stacked(role, "largest", sites))
        least = np.fmin(least, np.where(reached, 0.0, headrooms(run, role, sites)))
    return least


def main_parameter(layer: Layer) -> Site | None:
    """The parameter with the most elements: a layer's weight, not its bias."""
    return max(layer.parameters, key=lambda site: math.prod(site.shape), default=None)


def function_of(layer: Layer) -> str:
    """The activation function that ends a layer, ``""`` if none does."""
    return layer.activation.function if layer.activation else ""


def measured(series: Floats) -> Change:
    """First and last value of a series that is not NaN."""
    ends = first_and_last(series[None])
    return Change(float(ends.first[0]), float(ends.last[0]))


def first_and_last(rows: Floats) -> Ends:
    """First and last value of each row that is not NaN."""
    known = ~np.isnan(rows)
    if not known.size:
        return Ends(np.full(len(rows), np.nan), np.full(len(rows), np.nan))
    each = np.arange(len(rows))
    behind = known.shape[1] - 1 - known[:, ::-1].argmax(axis=1)
    return Ends(rows[each, known.argmax(axis=1)], rows[each, behind])


def _ends(run: Run, rows: Floats) -> Ends:
    """First and last values; NaN as the last if the run ended in values not finite."""
    ends = first_and_last(rows)
    if not rows.size or run.finite[-1]:
        return ends
    return Ends(ends.first, np.where(np.isnan(rows[:, -1]), np.nan, ends.last))


def _updates(run: Run, layers: Sequence[Layer]) -> Floats:
    """‖ΔW‖ / ‖W‖ of the main parameters; NaN while W is all zeros."""
    mains = [main_parameter(layer) for layer in layers]
    ratios = np.full((len(layers), len(run.recorded)), np.nan)
    present = [at for at, site in enumerate(mains) if site is not None]
    ratios[present] = update_ratios(run, [site for site in mains if site is not None])
    return ratios


def _lowest(run: Run, layers: Sequence[Layer]) -> Floats:
    """The headroom of each layer: the smallest over its sites."""
    rows = [np.zeros((0, len(run.recorded)))]
    for part in batches(run, layers):
        sites = [
            site
            for layer in part
            for site in (layer.activation, *layer.parameters)
            if site is not None
        ]
        sizes = [len(one.parameters) + (one.activation is not None) for one in part]
        starts = np.cumsum([0, *sizes[:-1]])
        rows.append(np.fmin.reduceat(headroom(run, sites), starts, axis=0))
    return np.concatenate(rows)


def _outlets(run: Run, layers: Sequence[Layer]) -> list[Site | None]:
    """The layers' activations; for the output, the logits."""
    outlets = [layer.activation for layer in layers]
    if outlets and outlets[-1] is None:
        outlets[-1] = next(reversed(run.of_kind("logits")), None)
    return outlets
