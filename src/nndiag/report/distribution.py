"""The spread of the sampled activations of each layer."""

from __future__ import annotations

import numpy as np

from nndiag.records import Floats, Layer, Run, Site
from nndiag.report import alternative
from nndiag.report.crowd import FEW, spaced
from nndiag.report.picture import Distribution, Histogram
from nndiag.report.units import count, printable

BINS = 48
"""Bins of a layer's histogram, for up to 256 sampled elements each."""

_SHOWN = 12
"""Histograms of a network of many layers."""


def distribution(run: Run) -> Distribution | None:
    """The picture of the first and the last sample; of many layers, of some."""
    taken = sorted({step for _, step in run.samples})
    if not taken:
        return None
    first, last = taken[0], taken[-1]
    layers = [layer for layer in run.layers() if _is_sampled(run, layer, first, last)]
    hint = "Piles at the ends are saturated units; one spike is a lost signal."
    if len(layers) > FEW:
        every = count(len(layers), "layer")
        layers = [layers[at] for at in spaced(len(layers), _SHOWN)]
        hint += f" {len(layers)} of {every}, evenly spaced."
    rows = [
        row
        for layer in layers
        if (row := _histogram(run, layer, first, last)) is not None
    ]
    if not rows:
        return None
    return Distribution(
        name="distribution",
        title="Activations of each layer",
        hint=hint,
        alternative=alternative.distribution(run, layers, first, last),
        rows=tuple(rows),
        first_step=first,
        last_step=last,
    )


def _is_sampled(run: Run, layer: Layer, first: int, last: int) -> bool:
    site = layer.activation
    return site is not None and (
        (site, first) in run.samples or (site, last) in run.samples
    )


def _histogram(run: Run, layer: Layer, first: int, last: int) -> Histogram | None:
    if layer.activation is None:
        return None
    before = _sample(run, layer.activation, first)
    after = _sample(run, layer.activation, last)
    both = np.concatenate([before, after])
    if not len(both):
        return None
    low, high = float(both.min()), float(both.max())
    if high == low:
        margin = max(abs(low) * 1e-3, 1e-12)
        low, high = low - margin, high + margin
    edges = np.linspace(low, high, BINS + 1)
    return Histogram(
        label=printable(layer.name),
        edges=edges,
        first=_shares(before, edges),
        last=_shares(after if last != first else after[:0], edges),
    )


def _sample(run: Run, site: Site, step: int) -> Floats:
    values = np.asarray(run.samples.get((site, step), np.zeros(0)), np.float64).ravel()
    return values[np.isfinite(values)]


def _shares(values: Floats, edges: Floats) -> Floats:
    counts, _ = np.histogram(values, edges)
    return counts / max(len(values), 1)
