"""From a run to its pictures; a picture without data does not come to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import compress

import numpy as np

from nndiag.records import Floats, Run
from nndiag.report import alternative
from nndiag.report.crowd import FEW, MANY, crowd, ends_of_bins, fold_rows
from nndiag.report.distribution import distribution
from nndiag.report.layers import (
    first_and_last,
    gradient_norms,
    headroom,
    main_parameter,
    series_of,
)
from nndiag.report.picture import Area, Heatmap, Line, Picture, Profile, Series
from nndiag.report.thin import line, thin_columns
from nndiag.report.units import evaluation, printable
from nndiag.rules.measures import batches, update_ratios, was_measured
from nndiag.rules.thresholds import UPDATE_LARGE, UPDATE_SMALL

UPDATE_BAND = (UPDATE_SMALL, UPDATE_LARGE)
"""Update-to-weight ratios at which training is usually healthy."""

UPDATE_GUIDE = 1e-3
"""The update-to-weight ratio that practice aims at (Karpathy, 2015, CS231n)."""

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
        distribution,
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
            lines.append(line(label, steps, values, depth=1, style="marked"))
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
    raw = line("training", run.steps, run.loss)
    finite = np.isfinite(run.loss)
    steps, values = run.steps[finite], run.loss[finite]
    window = len(values) // 50
    if window < 5:
        return [raw]
    sums = np.cumsum(np.concatenate([[0.0], values]))
    means = (sums[window:] - sums[:-window]) / window
    middle = steps[window // 2 :][: len(means)]
    every = replace(raw, label="training, every step", style="minor")
    return [every, line("training", middle, means)]


def _saturation(run: Run) -> Picture | None:
    activations = [layer.activation for layer in run.layers()]
    names, values = _known(
        _names(run), series_of(run, "value", "saturated", activations)
    )
    if not names:
        return None
    told = alternative.saturation(names, values, run.recorded)
    hint = "A saturated unit passes almost no gradient. Half of a relu is normal."
    last = first_and_last(values).last
    if len(names) > MANY:
        names, values, last, size = fold_rows(names, values, last)
        hint += (
            f" Each row: the most saturated of {size} layers, named after the first."
        )
    steps, values = thin_columns(run.recorded, values)
    return Heatmap(
        name="saturation",
        title="Share of saturated activations",
        hint=hint,
        alternative=told,
        rows=tuple(names),
        steps=steps,
        values=values,
        last=tuple(last.tolist()),
    )


def _gradient(run: Run) -> Picture | None:
    names, values = _gradients(run)
    if not names:
        return None
    lines, areas, hint = _drawn(run, names, values, "layers")
    return Series(
        name="gradient",
        title="Gradient norm of each layer over steps",
        hint=f"Lines that lie close together are healthy.{hint}",
        alternative=alternative.lines("gradient norm", names, values, run.recorded),
        lines=lines,
        areas=areas,
        quantity="gradient norm",
        logarithmic=True,
    )


def _profile(run: Run) -> Picture | None:
    names, values = _gradients(run)
    if len(names) < 2:
        return None
    told = alternative.profile(names, values, run.recorded)
    hint = "From input to output. A level line is healthy."
    ends = first_and_last(values)
    shown = np.arange(len(names))
    if len(names) > MANY:
        shown, size = ends_of_bins(ends.last)
        hint += f" Of each {size} layers in a row the lowest and the highest are shown."
    return Profile(
        name="profile",
        title="Gradient norm over depth",
        hint=hint,
        alternative=told,
        rows=tuple(names[at] for at in shown),
        quantity="gradient norm",
        first=ends.first[shown],
        last=ends.last[shown],
        first_step=int(run.recorded[0]),
        last_step=int(run.recorded[-1]),
    )


def _update(run: Run) -> Picture | None:
    layers = run.layers()
    mains = {main_parameter(layer) for layer in layers}
    many = len(layers) > FEW
    rows = [
        (parameter, position / max(len(layers) - 1, 1))
        for position, layer in enumerate(layers)
        for parameter in layer.parameters
        if parameter in mains or not many
    ]
    values = _positive(update_ratios(run, [site for site, _ in rows]))
    known = np.flatnonzero(was_measured(values))
    if not len(known):
        return None
    rows, values = [rows[at] for at in known], values[known]
    names = [printable(site) for site, _ in rows]
    if many:
        lines, areas, hint = _drawn(run, names, values, "main parameters")
    else:
        areas, hint = (), ""
        lines = tuple(
            line(
                name,
                run.recorded,
                series,
                depth=depth,
                style="main" if site in mains else "minor",
            )
            for name, (site, depth), series in zip(names, rows, values, strict=True)
        )
    return Series(
        name="update",
        title="Update-to-weight ratio of each parameter",
        hint="How far a step moves a parameter. The band is healthy"
        + (f".{hint}" if many else "; thin: biases."),
        alternative=alternative.lines(
            "update-to-weight ratio", names, values, run.recorded, band=UPDATE_BAND
        ),
        lines=lines,
        areas=areas,
        quantity="‖update‖ / ‖weight‖",
        logarithmic=True,
        band=UPDATE_BAND,
        guide=UPDATE_GUIDE,
    )


def _headroom(run: Run) -> Picture | None:
    sites = [site for site in run.sites if site.kind != "parameter"]
    parts = [np.zeros(0)]
    for part in batches(run, sites):
        bits = headroom(run, part)
        parts.append(np.fmin.reduce(bits, axis=1, initial=np.nan))
    least = np.concatenate(parts)
    order = np.argsort(least, kind="stable")[: np.count_nonzero(~np.isnan(least))]
    chosen: set[int] = set(order[:_LOWEST].tolist())
    lowest = [site for at, site in enumerate(sites) if at in chosen]
    if not lowest:
        return None
    named = {la.activation: la.name for la in run.layers() if la.activation}
    names = [printable(named.get(site, site)) for site in lowest]
    values = headroom(run, lowest)
    return Series(
        name="headroom",
        title="Headroom before overflow",
        hint=f"Bits left before a value overflows to Inf; the {len(names)} lowest.",
        alternative=alternative.lines("headroom in bits", names, values, run.recorded),
        lines=_lines(run, names, values),
        quantity="headroom (bits)",
        floor=0.0,
    )


def _names(run: Run) -> list[str]:
    return [printable(layer.name) for layer in run.layers()]


def _known(names: list[str], values: Floats) -> tuple[list[str], Floats]:
    """The rows in which anything was measured."""
    known = was_measured(values)
    return list(compress(names, known)), values[known]


def _gradients(run: Run) -> tuple[list[str], Floats]:
    return _known(_names(run), _positive(gradient_norms(run)))


def _positive(series: Floats) -> Floats:
    """The series with what a logarithmic axis cannot show as NaN."""
    return np.where(np.isfinite(series) & (series > 0), series, np.nan)


def _drawn(
    run: Run, names: list[str], values: Floats, noun: str
) -> tuple[tuple[Line, ...], tuple[Area, ...], str]:
    """A line for each of a few rows; of many the range, the median and the extremes."""
    if len(names) <= FEW:
        return _lines(run, names, values), (), ""
    lines, areas = crowd(names, values, run.recorded)
    return (
        lines,
        areas,
        f" Shaded: all {len(names):,} {noun}, darker the middle 80 %; lines: the "
        "median, the lowest and the highest.",
    )


def _lines(run: Run, names: list[str], values: Floats) -> tuple[Line, ...]:
    deepest = max(len(names) - 1, 1)
    return tuple(
        line(name, run.recorded, series, depth=position / deepest)
        for position, (name, series) in enumerate(zip(names, values, strict=True))
    )
