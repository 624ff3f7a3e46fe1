"""# ND109 attention_collapse

## What it measures

Of each attention head at each recorded step: the entropy of its weights, the mean over
queries of `−Σ p ln p / ln n` over the n keys, from 0 (each query sees one key) to 1;
and the largest logit that is not masked.

## Why it matters

A softmax whose largest logit is far above the others passes no gradient: the head
copies one position and can no longer learn to look elsewhere. Logits that keep growing
end in such heads, in jumps of the loss, and in an overflow of narrow types.

## When it fires

When half or more of the heads have an entropy below 0.03 throughout the last quarter of
the recorded steps (at least three), and the largest logit of these heads grew threefold
since the start, or is above 50. Below 8 keys nothing is said. If the loss fell by half
or more all the same it is told as information.

## What to do

Normalise queries and keys (QK-norm), or cap the logits; lower the learning rate or warm
it up; start the projections of queries and keys smaller.

## Known limits

Some heads are meant to be sharp, as those that look at the position before. Up to 256
evenly spaced queries are measured at each step. A causal mask lowers the entropy of the
first queries: with evenly spread weights it is 0.8 for 128 keys, not 1.

## References

- S. Zhai et al., "Stabilizing Transformer Training by Preventing Attention Entropy
  Collapse", ICML 2023 (arXiv:2303.06296).
- M. Dehghani et al., "Scaling Vision Transformers to 22 Billion Parameters", ICML 2023
  (arXiv:2302.05442): logits that grow, and normalised queries and keys.
"""  # noqa: D415 (the first line is a heading)

from __future__ import annotations

from collections.abc import Iterator
from itertools import compress

import numpy as np

from nndiag.records import Evidence, Finding, Floats, Run
from nndiag.rules.measures import certainty, first_column, learned_well, medians
from nndiag.rules.thresholds import (
    COLLAPSED_ENTROPY,
    COLLAPSED_HEADS,
    FEWEST_KEYS,
    LOGIT_GROWTH,
    LOGIT_LARGE,
)
from nndiag.rules.words import number, percent, places


def examine(run: Run) -> Iterator[Finding]:
    """One finding for all heads that collapsed, if they are half or more."""
    heads = [s for s in run.of_kind("attention") if s.shape[-1:] >= (FEWEST_KEYS,)]
    late = max(3, len(run.recorded) // 4)
    if not heads or len(run.recorded) < late:
        return
    entropy = run.stacked("value", "entropy", heads)
    collapsed = np.all(entropy[:, -late:] < COLLAPSED_ENTROPY, axis=1)
    if collapsed.mean() < COLLAPSED_HEADS:
        return
    sites = tuple(compress(heads, collapsed.tolist()))
    logits = run.stacked("value", "largest", sites)
    end = float(np.median(medians(logits[:, -late:])))
    growth = end / max(float(np.median(first_column(logits))), 1.0)
    if not (growth >= LOGIT_GROWTH or end >= LOGIT_LARGE):
        return
    level = float(np.median(medians(entropy[collapsed, -late:])))
    since = _since(entropy[collapsed])
    grew = growth >= LOGIT_GROWTH
    yield Finding(
        code="ND109",
        name="attention_collapse",
        title=f"{percent(float(collapsed.mean()))} of the attention heads look at one "
        f"key only: {places(run, sites)}.",
        severity="info" if learned_well(run) else "warning",
        confidence=certainty(COLLAPSED_ENTROPY / max(level, COLLAPSED_ENTROPY / 64)),
        sites=sites,
        first_step=int(run.recorded[since]),
        last_step=int(run.recorded[-1]),
        evidence=(
            Evidence(
                quantity="entropy of these heads over ln n, median",
                value=level,
                threshold=COLLAPSED_ENTROPY,
                source="Zhai et al. 2023; measured on a healthy run: 0.3 to 0.7",
            ),
            Evidence(
                quantity="largest logit of these heads at the end, median",
                value=end,
                threshold=LOGIT_LARGE,
                source="Dehghani et al. 2023",
            ),
            Evidence(
                quantity="its growth since the start",
                value=growth,
                threshold=LOGIT_GROWTH,
                source="measured on one healthy transformer: 0.7 to 2.9",
            ),
        ),
        cause=f"The largest logit grew {number(growth)}-fold to {number(end)}: the "
        "weights of queries and keys grow without bound."
        if grew
        else f"The largest logit is {number(end)} from the start: the weights of "
        "queries and keys are too wide, or their product is not scaled by 1/√d.",
        remedies=(
            "Normalise queries and keys before their product (QK-norm), or cap the "
            "logits with c·tanh(x/c).",
            "Lower the learning rate, or warm it up."
            if grew
            else "Scale the products of queries and keys by 1/√d, and start their "
            "weights smaller.",
        ),
        picture="loss",
    )


def _since(entropy: Floats) -> int:
    """The recorded step from which on half of these heads or more were collapsed."""
    held = (entropy < COLLAPSED_ENTROPY).mean(axis=0) >= COLLAPSED_HEADS
    gaps = np.flatnonzero(~held)
    return min(int(gaps[-1]) + 1, len(held) - 1) if gaps.size else 0
