"""Alternative texts: what a picture shows, in words and numbers, from the full data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nndiag.records import Floats, Integers, Layer, Run, Site
from nndiag.report.layers import first_and_last, measured
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


def saturation(names: Sequence[str], values: Floats, steps: Integers) -> str:
    """Of the heat map of saturation."""
    told = _ends(names, values, percent)
    return (
        f"Heat map of the share of saturated activations, {count(len(names), 'layer')} "
        f"over {_span(steps)}. First and last value: {told}."
    )


def lines(
    quantity: str,
    names: Sequence[str],
    values: Floats,
    steps: Integers,
    band: tuple[float, float] | None = None,
) -> str:
    """Of one line per layer or parameter."""
    told = _ends(names, values, number)
    text = (
        f"Line chart of the {quantity}, {count(len(names), 'line')} over "
        f"{_span(steps)}. First and last value: {told}."
    )
    if band is not None:
        lasts = first_and_last(values).last
        inside = np.count_nonzero((band[0] <= lasts) & (lasts <= band[1]))
        text += (
            f" At the end {inside:,} of {len(names):,} lie in the healthy band from "
            f"{number(band[0])} to {number(band[1])}."
        )
    return text


def profile(names: Sequence[str], values: Floats, steps: Integers) -> str:
    """Of the gradient over depth."""
    told = _ends(names, values, number)
    ends = first_and_last(values[[0, -1]])
    first, last = (float(end[0] / end[1]) for end in (ends.first, ends.last))
    return (
        f"Gradient norm of {count(len(names), 'layer')} from input to output, first "
        f"against last recorded step of {_span(steps)}. The first layer has "
        f"{number(first)} times the norm of the last layer at "
        f"first, {number(last)} times at last. "
        f"First and last value: {told}."
    )


def distribution(run: Run, layers: Sequence[Layer], first: int, last: int) -> str:
    """Of the spread of the activations."""
    told: list[str] = []
    for layer in layers:
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


def _ends(names: Sequence[str], values: Floats, write: Callable[[float], str]) -> str:
    half = _NAMED // 2
    shown = [*range(len(names))]
    if len(names) > _NAMED:
        shown = [*shown[:half], *shown[-half:]]
    told: list[str] = []
    for at in shown:
        change = measured(values[at])
        told.append(f"{names[at]} {write(change.first)} to {write(change.last)}")
    if len(names) > _NAMED:
        told.insert(half, f"{len(names) - 2 * half:,} more between")
    return "; ".join(told)


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
