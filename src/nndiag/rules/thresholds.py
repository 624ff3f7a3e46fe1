"""Every threshold of every rule, once, with its unit and where it comes from.

All are free of scale: shares, ratios, bits, or trends against the run's own early
steps. "Measured" means on MNIST with networks of 2 to 10 hidden layers of 64 to 128
units, 300 to 600 steps of batch 128, over SGD, momentum, Adam and warm-up with cosine.
"""

from __future__ import annotations

SATURATED_SHARE = 0.4
"""Share of elements saturated, of an activation that is flat on both sides.

Measured: sigmoid and tanh with Glorot or LeCun weights start below 0.01; with
weights of 0.8·N(0, 1) they start at 0.42 to 0.53. (SageMaker Debugger: 0.5.)"""

DEAD_SHARE = 0.5
"""Share of a layer's units that pass nothing on a whole batch.

SageMaker Debugger DeadRelu and TheDeepChecker: 0.5. Measured on relu networks that
learned: 0.01 to 0.30 in batches of 128."""

DEAD_SEVERE = 0.9
"""Share of a layer's units dead from which it is an error: a tenth is left."""

DEAD_ROWS = 64
"""Rows of a batch below which "dead on the whole batch" says little, in rows.

A unit that is active on one row in twenty is silent on 64 rows with probability
0.95⁶⁴ = 0.04. Smaller batches must show `DEAD_SEVERE`, and on more of them."""

DEAD_POOL = 512
"""Rows of consecutive small batches that must all show dead units, in rows."""

DEAD_POOL_FULL = 192
"""The same where all units of the layer are silent: three batches of `DEAD_ROWS`."""

VANISHING_RATIO = 0.03
"""Gradient norm of the first layer against the last, as a ratio.

Measured: 1.2 to 6 on healthy networks of 2 to 10 layers; 3e-3 to 2e-2 for eight sigmoid
layers of 16 units with weights of 0.8·N(0, 1); 7e-4 for six with Glorot weights.
(AutoTrainer: 1e-3.)"""

DEPTH_RATIO = 1e-2
"""Standard deviation of the last layer against the first, as a ratio.

Its inverse bounds growth, of the signal forwards and of the gradient backwards.
Measured on healthy networks of 2 to 10 layers: 0.05 to 1.2 for the signal, 1.2 to 6
for the gradient."""

DEPTH_LAYERS = 3
"""Layers below which "geometrically with depth" cannot be told, in layers."""

SEVERE_DEPTH_RATIO = 1e-3
"""First layer against last layer where a finding becomes an error, as a ratio.

AutoTrainer, β₁."""

GRADIENT_GROWTH = 100.0
"""Gradient norm against the run's first, as a ratio.

Measured: at most 27 on healthy runs, whose loss falls meanwhile."""

UPDATE_SMALL = 1e-4
"""Norm of the update against norm of the weights, per step, as a ratio.

TheDeepChecker's band is 1e-4 to 1e-1, about the rule of thumb of 1e-3 (Karpathy,
CS231n). Measured: medians of 9e-4 to 2e-2 on healthy runs."""

UPDATE_LARGE = 1e-1
"""Norm of the update against norm of the weights, per step, as a ratio.

See `UPDATE_SMALL`."""

UPDATE_OVERTURN = 0.5
"""Largest single update against the weights it changes, as a ratio.

Half of what was there is overwritten. Measured: at most 0.13 on healthy runs."""

LEARNED = 0.1
"""Fall of the loss, as a share of its early level, from which a run has learned.

Below it a run has hardly moved: ln 10 = 2.30 would stay above 2.07."""

LEARNED_WELL = 0.5
"""Fall of the loss, as a share of its early level, from which a run learns well.

What looks odd in such a run is told as information."""

INITIAL_LOSS_HIGH = 2.0
"""First loss against ln C for C classes, as a ratio.

TheDeepChecker: within 100 % of ln C. Measured: 1.0 to 1.2 with LeCun, Glorot and He
weights."""

INITIAL_LOSS_LOW = 0.5
"""First loss against ln C, as a ratio: less than half of what ignorance costs."""

LOSS_RISE = 0.5
"""Rise of the loss above its best level, as a share of what had been gained.

Half of what the run had learned is lost again."""

LOSS_RISE_LEVEL = 0.1
"""Rise of the loss above its best level, as a share of its early level.

Keeps a run that never learned from being called diverging for its noise."""

LOSS_NOISE = 6.0
"""Rise of the loss, in standard errors of the median of a window.

The best of 40 windows lies 2.2 below the mean by chance, and the last may lie above."""

HEADROOM = 3.0
"""Bits between the largest magnitude and the largest number of the type.

At 3 bits a factor of 8 overflows."""

HEADROOM_CLOSING = 0.25
"""Share of the type's range of exponents within which a steady approach counts.

Half of the range is lost to a square already, as in a norm; a quarter is left there."""

HEADROOM_SOON = 0.25
"""Steps to an overflow at the present pace, as a share of the steps taken so far.

An exponential whose argument grows evenly from 0 is told of when four fifths of its way
are done, at 71 of 88.7 in float32."""

INPUT_LARGE = 10.0
"""Root mean square of the inputs, against the unit scale that initialisers assume.

LeCun et al., "Efficient BackProp" (1998): inputs of unit variance. Pixels in 0..1
have 0.33, in 0..255 they have 85; standard inputs × 50 have 50."""

INPUT_SMALL = 0.05
"""Largest magnitude of the inputs, against unit scale.

Pixels that were divided by 255 twice reach 0.004. The largest, not the root mean
square: sparse inputs have a small mean square and are sound."""

REPLICA_SPREAD = 1e-3
"""(max − min) / max over devices of the norm of an update that should be the same.

Exactly 0 where the gradients are averaged; sums in another order on each device stay
below 1e-5 in float32. Measured: 0.3 to 0.6 where the average was forgotten."""

COLLAPSED_ENTROPY = 0.03
"""Entropy of attention over ln n, below which a head looks at one key.

For 128 keys 0.15 nats: a weight of 0.97 on one key. Measured: 0.30 to 0.69 on a healthy
transformer of 4 layers on letters. (Zhai et al. 2023: collapse near 0 in nats.)"""

COLLAPSED_HEADS = 0.5
"""Share of the heads that collapsed, from which it is a finding.

Single heads look at one key in sound networks, too."""

FEWEST_KEYS = 8
"""Keys below which a low entropy says little, in keys."""

LOGIT_GROWTH = 3.0
"""Largest attention logit at the end against the start (at least 1), as a ratio.

Measured on one healthy transformer: 0.7 to 2.9 of single heads."""

LOGIT_LARGE = 50.0
"""Largest attention logit: what is a hundredth below it has a weight of e^−0.5, what is
at 0 has none in float32.

Dehghani et al. 2023 saw logits grow without bound where training diverged
(arXiv:2302.05442)."""

BRANCH_SMALL = 1e-4
"""Norm of a residual branch over that of its stream, as a ratio: it adds nothing.

Below one unit in the last place of bfloat16 (2^−8) most of it is rounded away."""

BRANCH_LARGE = 1000.0
"""Norm of a residual branch over that of its stream, as a ratio: it drowns it.

Measured: up to 35 in the first block of a healthy transformer with embeddings of
standard deviation 0.02."""

UNTRAINED_SHARE = 0.5
"""Share of the rows of a table that had no gradient, from which it is told."""

COVERED_STEPS = 20
"""Recorded steps below which little is known of which rows are looked up, in steps."""
