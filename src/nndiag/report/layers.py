"""The numbers of each layer, at the first and the last recorded step.

With ‖·‖ the Euclidean norm, W a parameter, ΔW its change in one step and L the loss:

- gradient: ‖∂L/∂a‖ of the layer's output a, or ‖∂L/∂W‖ if no such was measured;
- update ratio: ‖ΔW‖ / ‖W‖;
- headroom: log₂(largest number of the dtype / max |x|), in bits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nndiag.records import Floats, Layer, Role, Run, Site
from nndiag.report.units import printable
from nndiag.rules.functions import STEEPEST
from nndiag.rules.measures import update_ratios
from nndiag.rules.near_overflow import headroom as bits_left

_COTANGENT: tuple[Role, str] = ("cotangent", "norm")


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


def layer_rows(run: Run) -> tuple[LayerRow, ...]:
    """The layer table of a run, from input to output."""
    return tuple(_row(run, layer) for layer in run.layers())


def gradient_norm(run: Run, layer: Layer) -> Floats:
    """‖∂L/∂a‖ of what the layer puts out, over the recorded steps.

    A run without derivatives by activations shows ‖∂L/∂W‖ of the layer's main
    parameter instead; the two are never mixed, as they differ in scale.
    """
    if any((role, quantity) == _COTANGENT for role, quantity, _ in run.readings):
        outlet = _outlet(run, layer)
        return _nothing(run) if outlet is None else run.series(*_COTANGENT, outlet)
    main = main_parameter(layer)
    return _nothing(run) if main is None else run.series("gradient", "norm", main)


def update_ratio(run: Run, parameter: Site) -> Floats:
    """‖ΔW‖ / ‖W‖ over the recorded steps; NaN while W is all zeros."""
    return update_ratios(run, (parameter,))[0]


def headroom(run: Run, site: Site) -> Floats:
    """Bits left before a site overflows: the smallest over value, gradients and update.

    0 where Inf was reached, NaN where nothing was measured or all was zero.
    """
    roles: tuple[Role, ...] = ("value", "cotangent", "parameter", "gradient", "update")
    least = _nothing(run)
    for role in roles:
        reached = np.isinf(run.series(role, "largest", site))
        least = np.fmin(least, np.where(reached, 0.0, bits_left(run, role, site)))
    return least


def main_parameter(layer: Layer) -> Site | None:
    """The parameter with the most elements: a layer's weight, not its bias."""
    sized = [(int(np.prod(site.shape)), site) for site in layer.parameters]
    return max(sized, key=lambda pair: pair[0])[1] if sized else None


def measured(series: Floats) -> Change:
    """First and last value of a series that is not NaN."""
    known = np.flatnonzero(~np.isnan(series))
    if not len(known):
        return Change()
    return Change(float(series[known[0]]), float(series[known[-1]]))


def _ends(run: Run, series: Floats) -> Change:
    """First and last value; NaN as the last if the run ended in values not finite."""
    change = measured(series)
    broken = len(series) > 0 and not run.finite[-1] and np.isnan(series[-1])
    return Change(change.first) if broken else change


def _row(run: Run, layer: Layer) -> LayerRow:
    main = main_parameter(layer)
    own = () if layer.activation is None else (layer.activation,)
    sites = (*own, *layer.parameters)

    def activation(quantity: str) -> Change:
        if layer.activation is None:
            return Change()
        return _ends(run, run.series("value", quantity, layer.activation))

    return LayerRow(
        name=printable(layer.name),
        function=printable(layer.activation.function if layer.activation else ""),
        sites=sites,
        saturation=activation("saturated"),
        slope=activation("slope"),
        gradient=_ends(run, gradient_norm(run, layer)),
        update=Change() if main is None else _ends(run, update_ratio(run, main)),
        headroom=_ends(run, _smallest(run, (headroom(run, site) for site in sites))),
    )


def _outlet(run: Run, layer: Layer) -> Site | None:
    """The layer's activation; for the output, the logits."""
    if layer.activation is None and layer == run.layers()[-1]:
        return next(reversed(run.of_kind("logits")), None)
    return layer.activation


def _smallest(run: Run, many: Iterable[Floats]) -> Floats:
    result = _nothing(run)
    for series in many:
        result = np.fmin(result, series)
    return result


def _nothing(run: Run) -> Floats:
    return np.full(run.recorded.shape, np.nan)
