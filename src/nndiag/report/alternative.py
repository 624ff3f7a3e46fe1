"""Alternative texts: what a picture shows, in words and numbers, from the full data."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nndiag.records import Floats, Integers, Run, Site
from nndiag.report.layers import measured
from nndiag.report.units import count, evaluation, number, percent, printable

_NAMED = 12
"""At most that many rows are told one by one."""


def loss(run: Run) -> str:
    """Of the loss over steps."""
    finite = np.isfinite(run.loss)
    text = f"Line chart of the training loss over {_span(run.steps)}"
    if finite.any():
        lowest = int(np.flatnonzero(finite)[np.argmin(run.loss[finite])])
        text += (
            f": {number(run.loss[finite][0])} at first, "
            f"{number(run.loss[finite][-1])} at last, "
            f"lowest {number(run.loss[lowest])} at step {run.steps[lowest]:,}"
        )
    text += "."
    if not finite.all():
        broken = run.steps[~finite]
        text += f" NaN or Inf at {count(len(broken), 'step')}, first {broken[0]:,}."
    for name, (steps, values) in run.evaluations.items():
        if "loss" in name.lower() and len(steps):
            text += (
                f" {evaluation(name).capitalize()}: {number(values[0])} at step "
                f"{steps[0]:,}, {number(values[-1])} at step {steps[-1]:,}."
            )
    return text


def saturation(rows: list[tuple[str, Floats]], steps: Integers) -> str:
    """Of the heat map of saturation."""
    told = _ends(rows, percent)
    return (
        f"Heat map of the share of saturated activations, {count(len(rows), 'layer')} "
        f"over {_span(steps)}. First and last value: {told}."
    )


def lines(
    quantity: str,
    rows: list[tuple[str, Floats]],
    steps: Integers,
    band: tuple[float, float] | None = None,
) -> str:
    """Of one line per layer or parameter."""
    told = _ends(rows, number)
    text = (
        f"Line chart of the {quantity}, {count(len(rows), 'line')} over "
        f"{_span(steps)}. First and last value: {told}."
    )
    if band is not None:
        lasts = [measured(series).last for _, series in rows]
        inside = sum(band[0] <= last <= band[1] for last in lasts)
        text += (
            f" At the end {inside} of {len(rows)} lie in the healthy band from "
            f"{number(band[0])} to {number(band[1])}."
        )
    return text


def profile(rows: list[tuple[str, Floats]], steps: Integers) -> str:
    """Of the gradient over depth."""
    told = _ends(rows, number)
    ends = [measured(series) for _, series in rows]
    return (
        f"Gradient norm of {count(len(rows), 'layer')} from input to output, first "
        f"against last recorded step of {_span(steps)}. The first layer has "
        f"{number(ends[0].first / ends[-1].first)} times the norm of the last layer at "
        f"first, {number(ends[0].last / ends[-1].last)} times at last. "
        f"First and last value: {told}."
    )


def distribution(run: Run, first: int, last: int) -> str:
    """Of the spread of the activations."""
    told: list[str] = []
    for layer in run.layers():
        if layer.activation is None:
            continue
        texts = [
            f"from {number(float(values.min()))} to {number(float(values.max()))} "
            f"around {number(float(np.median(values)))} at step {step:,}"
            for step in dict.fromkeys((first, last))
            if len(values := _finite(run, layer.activation, step))
        ]
        if texts:
            told.append(f"{printable(layer.name)} {', '.join(texts)}")
    return (
        f"Histograms of sampled activations of {count(len(told), 'layer')}. "
        f"Range and median: {'; '.join(_few(told))}."
    )


def _finite(run: Run, site: Site, step: int) -> Floats:
    values = np.asarray(run.samples.get((site, step), np.zeros(0)), np.float64)
    return values[np.isfinite(values)]


def _ends(rows: list[tuple[str, Floats]], write: Callable[[float], str]) -> str:
    told: list[str] = []
    for name, series in rows:
        change = measured(series)
        told.append(f"{name} {write(change.first)} to {write(change.last)}")
    return "; ".join(_few(told))


def _few(told: list[str]) -> list[str]:
    if len(told) <= _NAMED:
        return told
    half = _NAMED // 2
    skipped = f"{len(told) - 2 * half} more between"
    return [*told[:half], skipped, *told[-half:]]


def _span(steps: Integers) -> str:
    if len(steps) == 1:
        return f"step {steps[0]:,}"
    return f"steps {steps[0]:,} to {steps[-1]:,}"
