"""# ND701 input_scale

## What it measures

The root mean square `√(mean² + std²)` and the largest magnitude of what the first
dense or convolutional operation reads, as the median over the recorded steps.

## Why it matters

Initialisations are made for inputs of about unit scale. Inputs a hundred times larger
make the first weighted sums, and the gradient of the first weights, a hundred times
larger: sigmoids saturate, relus die, steps overshoot. Inputs that are much too small
leave the first layer to its biases and its gradient near zero.

## When it fires

- **Too large**: the root mean square is above 10. Pixels in 0 to 255 have about 80.
- **Too small**: the largest magnitude is below 0.05. Pixels that were divided by 255
  twice reach 0.004. Sparse inputs pass: their largest value counts, not their mean.

It is told as information if the loss fell by half or more all the same.

## What to do

Divide pixels by 255, once; bring other features to mean 0 and standard deviation 1
with the statistics of the training set. The finding names the mean and the standard
deviation of all features together; features of different scales need their own.

## Known limits

The whole array is measured, not each feature: one large column among many small ones
shows only if it lifts the root mean square. A normalisation layer right after the
first operation makes the scale harmless. Integer inputs (token numbers) are skipped.

## References

- Y. LeCun et al., "Efficient BackProp", 1998, section 4.3.
"""  # noqa: D415 (the first line is a heading)

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from nndiag.records import Evidence, Finding, Floats, Run, Site
from nndiag.rules.measures import certainty, learned_well, median, share, span
from nndiag.rules.thresholds import INPUT_LARGE, INPUT_SMALL
from nndiag.rules.words import number

_SOURCE = "LeCun et al., Efficient BackProp (1998): unit variance"

_SEVERAL = 4
"""Inputs that get a finding each."""

_STANDARDISE = (
    "Subtract the mean of each input and divide by its standard deviation, both of the "
    "training set."
)


def examine(run: Run) -> Iterator[Finding]:
    """One finding for each input that is far from unit scale; of many, the worst."""
    large: dict[Site, float] = {}
    small: dict[Site, float] = {}
    for site in _inputs(run):
        size = median(_root_mean_square(run, site))
        largest = median(_largest(run, site))
        if size > INPUT_LARGE:
            large[site] = size
        elif 0 < largest < INPUT_SMALL:
            small[site] = -largest
    for found, describe in ((large, _large), (small, _small)):
        if len(found) <= _SEVERAL:
            yield from (describe(run, site) for site in found)
            continue
        worst = max(found, key=lambda site: found[site])
        finding = describe(run, worst)
        yield replace(
            finding,
            title=f"{finding.title[:-1]}; {worst} is the worst of {len(found):,}.",
            sites=(worst, *(site for site in found if site != worst)),
        )


def too_large(run: Run) -> bool:
    """Whether an input is far above unit scale."""
    sizes = (median(_root_mean_square(run, site)) for site in _inputs(run))
    return any(size > INPUT_LARGE for size in sizes)


def _inputs(run: Run) -> tuple[Site, ...]:
    return tuple(s for s in run.of_kind("input") if "float" in s.dtype)


def _root_mean_square(run: Run, site: Site) -> Floats:
    mean, std = (run.series("value", q, site) for q in ("mean", "std"))
    return np.sqrt(mean**2 + std**2)


def _largest(run: Run, site: Site) -> Floats:
    return run.series("value", "largest", site)


def _large(run: Run, site: Site) -> Finding:
    size = _root_mean_square(run, site)
    typical, largest = median(size), median(_largest(run, site))
    held = size > INPUT_LARGE
    pixels = 200 <= largest <= 255
    first, last = span(run, held)
    return Finding(
        code="ND701",
        name="input_scale",
        title=f"The inputs are too large: root mean square {number(typical)}, "
        f"where about 1 is expected.",
        severity="info" if learned_well(run) else "warning",
        confidence=certainty(typical / INPUT_LARGE, share(held, ~np.isnan(size))),
        sites=(site,),
        first_step=first,
        last_step=last,
        evidence=(
            Evidence(
                quantity="root mean square of the inputs",
                value=typical,
                threshold=INPUT_LARGE,
                source=_SOURCE,
            ),
            Evidence(quantity="largest magnitude of the inputs", value=largest),
        ),
        cause="The inputs look like raw pixels of 0 to 255."
        if pixels
        else "The inputs are not scaled to the unit variance that initialisations "
        "are made for.",
        remedies=("Divide the pixels by 255.", _STANDARDISE)
        if pixels
        else (f"{_STANDARDISE[:-1]}{_statistics(run, site)}.",),
        picture="distribution",
    )


def _statistics(run: Run, site: Site) -> str:
    """Mean and standard deviation of an input, as the end of a sentence."""
    mean, std = (median(run.series("value", q, site)) for q in ("mean", "std"))
    return f": together they have mean {number(mean)} and std {number(std)}"


def _small(run: Run, site: Site) -> Finding:
    largest = _largest(run, site)
    typical = median(largest)
    held = largest < INPUT_SMALL
    twice = abs(typical * 255 - 1) < 0.1
    first, last = span(run, held)
    return Finding(
        code="ND701",
        name="input_scale",
        title=f"The inputs are too small: their largest magnitude is "
        f"{number(typical)}, where about 1 is expected.",
        severity="info" if learned_well(run) else "warning",
        confidence=certainty(INPUT_SMALL / typical, share(held, ~np.isnan(largest))),
        sites=(site,),
        first_step=first,
        last_step=last,
        evidence=(
            Evidence(
                quantity="largest magnitude of the inputs",
                value=typical,
                threshold=INPUT_SMALL,
                source=_SOURCE,
            ),
        ),
        cause="The largest input is 1/255: the pixels look divided by 255 twice."
        if twice
        else "The inputs are far below the unit variance that initialisations are "
        "made for.",
        remedies=(
            "Divide by 255 only once."
            if twice
            else "Divide the inputs by their standard deviation.",
            _STANDARDISE,
        ),
        picture="distribution",
    )
