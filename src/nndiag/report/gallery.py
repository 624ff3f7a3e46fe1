"""From a run to its pictures; a picture without data does not come to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from nndiag.records import Floats, Integers, Layer, Run, Site
from nndiag.report import alternative
from nndiag.report.layers import (
    gradient_norm,
    headroom,
    main_parameter,
    measured,
    update_ratio,
)
from nndiag.report.picture import (
    Distribution,
    Heatmap,
    Histogram,
    Line,
    LineStyle,
    Picture,
    Profile,
    Series,
)
from nndiag.report.thin import thin, thin_columns
from nndiag.report.units import evaluation, printable
from nndiag.rules.thresholds import UPDATE_LARGE, UPDATE_SMALL

UPDATE_BAND = (UPDATE_SMALL, UPDATE_LARGE)
"""Update-to-weight ratios at which training is usually healthy."""

UPDATE_GUIDE = 1e-3
"""The update-to-weight ratio that practice aims at (Karpathy, 2015, CS231n)."""

BINS = 48
"""Bins of a layer's histogram, for up to 256 sampled elements each."""

_LOWEST = 5
"""Lines in the picture of headroom; the table has all."""


def gather(run: Run) -> dict[str, Picture]:
    """Every picture that the run has data for, by name, in the order to show them."""
    makers: tuple[Callable[[Run], Picture | None], ...] = (
        _loss,
        _saturation,
        _profile,
        _gradient,
        _update,
        _distribution,
        _headroom,
    )
    pictures = (maker(run) for maker in makers)
    return {picture.name: picture for picture in pictures if picture is not None}


def _loss(run: Run) -> Picture | None:
    if not len(run.steps):
        return None
    lines = _training(run)
    smooth = " Thin: every step; thick: its moving mean." if len(lines) > 1 else ""
    for name, (steps, values) in run.evaluations.items():
        if "loss" in name.lower() and len(steps):
            label = evaluation(name)
            lines.append(_line(label, steps, values, depth=1, style="marked"))
    return Series(
        name="loss",
        title="Loss over steps",
        hint=f"It should fall, then level off.{smooth}",
        alternative=alternative.loss(run),
        lines=tuple(lines),
        quantity="loss",
        broken=run.steps[~np.isfinite(run.loss)],
    )


def _training(run: Run) -> list[Line]:
    """The loss of every step and, where it is long and noisy, its moving mean."""
    raw = _line("training", run.steps, run.loss)
    finite = np.isfinite(run.loss)
    steps, values = run.steps[finite], run.loss[finite]
    window = len(values) // 50
    if window < 5:
        return [raw]
    sums = np.cumsum(np.concatenate([[0.0], values]))
    means = (sums[window:] - sums[:-window]) / window
    middle = steps[window // 2 :][: len(means)]
    every = replace(raw, label="training, every step", style="minor")
    return [every, _line("training", middle, means)]


def _saturation(run: Run) -> Picture | None:
    rows = [
        (printable(layer.name), run.series("value", "saturated", layer.activation))
        for layer in run.layers()
        if layer.activation is not None
    ]
    rows = [(name, series) for name, series in rows if not np.all(np.isnan(series))]
    if not rows:
        return None
    steps, values = thin_columns(run.recorded, np.stack([s for _, s in rows]))
    return Heatmap(
        name="saturation",
        title="Share of saturated activations",
        hint="A saturated unit passes almost no gradient. Half of a relu is normal.",
        alternative=alternative.saturation(rows, run.recorded),
        rows=tuple(name for name, _ in rows),
        steps=steps,
        values=values,
        last=tuple(measured(series).last for _, series in rows),
    )


def _gradient(run: Run) -> Picture | None:
    rows = _gradients(run)
    if not rows:
        return None
    return Series(
        name="gradient",
        title="Gradient norm of each layer over steps",
        hint="Lines that lie close together are healthy.",
        alternative=alternative.lines("gradient norm", rows, run.recorded),
        lines=_lines(run, rows),
        quantity="gradient norm",
        logarithmic=True,
    )


def _profile(run: Run) -> Picture | None:
    rows = _gradients(run)
    if len(rows) < 2:
        return None
    ends = [measured(series) for _, series in rows]
    return Profile(
        name="profile",
        title="Gradient norm over depth",
        hint="From input to output. A level line is healthy.",
        alternative=alternative.profile(rows, run.recorded),
        rows=tuple(name for name, _ in rows),
        quantity="gradient norm",
        first=np.array([change.first for change in ends]),
        last=np.array([change.last for change in ends]),
        first_step=int(run.recorded[0]),
        last_step=int(run.recorded[-1]),
    )


def _update(run: Run) -> Picture | None:
    layers = run.layers()
    mains = {main_parameter(layer) for layer in layers}
    rows = [
        (parameter, position / max(len(layers) - 1, 1))
        for position, layer in enumerate(layers)
        for parameter in layer.parameters
    ]
    drawn = [(site, depth, _positive(update_ratio(run, site))) for site, depth in rows]
    drawn = [row for row in drawn if not np.all(np.isnan(row[2]))]
    if not drawn:
        return None
    return Series(
        name="update",
        title="Update-to-weight ratio of each parameter",
        hint="How far a step moves a parameter. The band is healthy; thin: biases.",
        alternative=alternative.lines(
            "update-to-weight ratio",
            [(printable(site), series) for site, _, series in drawn],
            run.recorded,
            band=UPDATE_BAND,
        ),
        lines=tuple(
            _line(
                printable(site),
                run.recorded,
                series,
                depth=depth,
                style="main" if site in mains else "minor",
            )
            for site, depth, series in drawn
        ),
        quantity="‖update‖ / ‖weight‖",
        logarithmic=True,
        band=UPDATE_BAND,
        guide=UPDATE_GUIDE,
    )


def _distribution(run: Run) -> Picture | None:
    taken = sorted({step for _, step in run.samples})
    if not taken:
        return None
    first, last = taken[0], taken[-1]
    rows = [
        row
        for layer in run.layers()
        if (row := _histogram(run, layer, first, last)) is not None
    ]
    if not rows:
        return None
    return Distribution(
        name="distribution",
        title="Activations of each layer",
        hint="Piles at the ends are saturated units; one spike is a lost signal.",
        alternative=alternative.distribution(run, first, last),
        rows=tuple(rows),
        first_step=first,
        last_step=last,
    )


def _headroom(run: Run) -> Picture | None:
    sites = [site for site in run.sites if site.kind != "parameter"]
    names = {layer.activation: layer.name for layer in run.layers()}
    rows = [(printable(names.get(site, site)), headroom(run, site)) for site in sites]
    rows = [(name, series) for name, series in rows if not np.all(np.isnan(series))]
    if not rows:
        return None
    lowest = sorted(rows, key=lambda row: float(np.nanmin(row[1])))[:_LOWEST]
    rows = [row for row in rows if any(row is other for other in lowest)]
    return Series(
        name="headroom",
        title="Headroom before overflow",
        hint=f"Bits left before a value overflows to Inf; the {len(rows)} lowest.",
        alternative=alternative.lines("headroom in bits", rows, run.recorded),
        lines=_lines(run, rows),
        quantity="headroom (bits)",
        floor=0.0,
    )


def _gradients(run: Run) -> list[tuple[str, Floats]]:
    rows = [
        (printable(layer.name), _positive(gradient_norm(run, layer)))
        for layer in run.layers()
    ]
    return [(name, series) for name, series in rows if not np.all(np.isnan(series))]


def _positive(series: Floats) -> Floats:
    """The series with what a logarithmic axis cannot show as NaN."""
    return np.where(np.isfinite(series) & (series > 0), series, np.nan)


def _line(
    label: str,
    steps: Integers,
    values: Floats,
    *,
    depth: float = 0.0,
    style: LineStyle = "main",
) -> Line:
    steps, values = thin(steps, values)
    return Line(label=label, steps=steps, values=values, depth=depth, style=style)


def _lines(run: Run, rows: list[tuple[str, Floats]]) -> tuple[Line, ...]:
    deepest = max(len(rows) - 1, 1)
    return tuple(
        _line(name, run.recorded, series, depth=position / deepest)
        for position, (name, series) in enumerate(rows)
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
