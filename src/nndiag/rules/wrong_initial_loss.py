"""# ND301 wrong_initial_loss

## What it measures

The loss of step 0 against `ln C`, what a guess with equal odds for each of the C
classes costs; C is the last axis of the logits that the softmax of the loss reads.

## Why it matters

A network that knows nothing should be unsure. A larger first loss means that it is
sure and wrong: the initial logits are too wide, or the loss is summed instead of
averaged. A much smaller one means that it already knows, or is told, the answer.

## When it fires

When the first loss is above 2·ln C (warning), or below half of ln C (information), at
step 0 of a run whose loss applies a softmax. If the loss then falls by half, the first
is told as information too.

## What to do

Scale down the initial weights of the last layer, or start them at zero; take the mean
over the batch; scale the inputs. If it is too small, see whether the label is among the
inputs.

## Known limits

The loss is taken to be a cross-entropy; an added penalty counts with it. Heavy class
weights move the expected value. A pretrained model starts low with good reason.

## References

- A. Karpathy, "A recipe for training neural networks", 2019: "verify loss @ init".
- H. Ben Braiek, F. Khomh, TheDeepChecker, TOSEM 2023: within 100 % of ln C.
"""  # noqa: D415 (the first line is a heading)

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from nndiag.records import Evidence, Finding, Run, Site
from nndiag.rules.measures import certainty, first, learned_well
from nndiag.rules.thresholds import INITIAL_LOSS_HIGH, INITIAL_LOSS_LOW
from nndiag.rules.words import number


def examine(run: Run) -> Iterator[Finding]:
    """At most one finding, on step 0."""
    logits = run.of_kind("logits")
    started = len(run.steps) > 0 and run.steps[0] == 0 and np.isfinite(run.loss[0])
    if len(logits) != 1 or not started or logits[0].shape[-1:] < (2,):
        return
    expected = math.log(logits[0].shape[-1])
    ratio = float(run.loss[0]) / expected
    if INITIAL_LOSS_LOW <= ratio <= INITIAL_LOSS_HIGH or ratio <= 0:
        return
    high = ratio > INITIAL_LOSS_HIGH
    cause, remedies = _too_high(run, logits[0], ratio) if high else _TOO_LOW
    yield Finding(
        code="ND301",
        name="wrong_initial_loss",
        title=f"The first loss is {number(float(run.loss[0]))}, where a guess among "
        f"{logits[0].shape[-1]} classes costs {number(expected)}.",
        severity="warning" if high and not learned_well(run) else "info",
        confidence=certainty(
            ratio / INITIAL_LOSS_HIGH if high else INITIAL_LOSS_LOW / ratio
        ),
        sites=logits,
        first_step=0,
        last_step=0,
        evidence=(
            Evidence(
                quantity="first loss over ln C",
                value=ratio,
                threshold=INITIAL_LOSS_HIGH if high else INITIAL_LOSS_LOW,
                source="TheDeepChecker: within 100 % of ln C",
            ),
            Evidence(
                quantity="standard deviation of the first logits",
                value=first(run.series("value", "std", logits[0])),
            ),
        ),
        cause=cause,
        remedies=remedies,
        picture="loss",
    )


def _too_high(run: Run, logits: Site, ratio: float) -> tuple[str, tuple[str, ...]]:
    rows = math.prod(logits.shape[:-1])
    if rows >= 8 and 0.5 <= ratio / rows <= 2:
        return (
            f"The loss is about ln C for each of the {rows} rows of the batch: it "
            "looks summed over the batch, not averaged.",
            ("Take the mean of the loss over the batch.",),
        )
    spread = first(run.series("value", "std", logits))
    seen = f" (standard deviation {number(spread)})" if spread == spread else ""
    return (
        f"The initial logits are far apart{seen}: the network is sure of wrong answers "
        "before it has seen one.",
        (
            "Scale down the initial weights of the last layer, or start them at zero.",
            "Use LeCun, Glorot or He initialisation in all layers.",
            "Scale the inputs to unit variance.",
        ),
    )


_TOO_LOW = (
    "The network knows more at step 0 than a guess: it is pretrained, or the label "
    "leaks into the inputs, or the loss is divided once too often.",
    (
        "Check that the label, or something made from it, is not among the inputs.",
        "Check how the loss is averaged.",
    ),
)
