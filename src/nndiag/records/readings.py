"""What one watched step measured."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

from nndiag.records.site import Site

Array = Any
"""A JAX or NumPy array, or a float: `records` imports neither library."""

Role = Literal["value", "cotangent", "parameter", "gradient", "update"]
"""What of a site was measured: its value, the derivative of the loss by it, or,
for a parameter, its value, its gradient, and the change that the step made to it."""

ROLES: tuple[Role, ...] = get_args(Role)
"""The roles: the fields of `Readings` that hold statistics by site."""


class TensorStats(NamedTuple):
    """Statistics of one array; scalars, `None` where not measured.

    They are float32, or float64 where the array is.

    Under `jax.lax.scan` or `jax.vmap` around the watched function each field gains
    the leading axes of the transform. The *batch* axes of an array are all its axes
    but the unit (channel) axis.

    Attributes:
        mean: arithmetic mean over all elements.
        std: standard deviation over all elements.
        norm: Euclidean norm over all elements, √Σx²; of a residual branch, its own.
        largest: largest magnitude, max |x|; NaN or Inf when the array holds one. Of
            attention, the largest logit (not its magnitude), −1e8 if all are masked.
        zero: share of elements that are exactly zero, or dropped, 0 to 1.
        saturated: share of elements where the activation's derivative is nearly
            zero, 0 to 1 (see `nndiag.probes.activations`).
        slope: mean of the activation's derivative |f′(z)|.
        dead_units: share of units that are saturated at zero on the whole batch
            (a relu that passes nothing), 0 to 1.
        saturated_units: share of units saturated on every row of the batch, 0 to 1.
        cosine: of an update, the cosine between it and the negative gradient.
        entropy: of attention, the mean over up to 256 queries of −Σ p ln p / ln n
            over the n keys, 0 (each query sees one key) to 1 (each sees all alike).
        ratio: of a residual branch, its norm over that of the stream it is added to.
        spread: of the norms that the devices have of what is theirs, (max − min) / max,
            0 to 1: of an update that should be the same on all of them, of parameters
            that are stacked copies, of the parts of a gradient before they are summed.
        sample: up to 256 elements, evenly strided, for pictures of the distribution.
        rows: of the gradient of an embedding table, which of its rows are not all
            zero: for each 16 watched rows (see `stride_of`) a whole number, whose
            lowest bit is the first of them.
        histogram: of gradients and updates, how many elements have which power of two
            (see `HISTOGRAM_BINS`).
        units: of an activation, for each unit the mean over the batch and the share of
            it that is saturated, shape ``(2, units)``.
    """

    mean: Array | None = None
    std: Array | None = None
    norm: Array | None = None
    largest: Array | None = None
    zero: Array | None = None
    saturated: Array | None = None
    slope: Array | None = None
    dead_units: Array | None = None
    saturated_units: Array | None = None
    cosine: Array | None = None
    entropy: Array | None = None
    ratio: Array | None = None
    spread: Array | None = None
    sample: Array | None = None
    rows: Array | None = None
    histogram: Array | None = None
    units: Array | None = None


ARRAYS = ("sample", "rows", "histogram", "units")
"""The fields of `TensorStats` that are arrays."""

QUANTITIES: tuple[str, ...] = tuple(
    field for field in TensorStats._fields if field not in ARRAYS
)
"""The scalar fields of `TensorStats`, in order."""

LOWEST_POWER, HIGHEST_POWER = -64, 32
HISTOGRAM_BINS = HIGHEST_POWER - LOWEST_POWER + 5
"""Bins of a histogram: what is zero; what is smaller than 2^`LOWEST_POWER`; for each p
from there to `HIGHEST_POWER`, 2^p ≤ |x| < 2^(p+1); what is larger; NaN and Inf."""


class Readings(NamedTuple):
    """What one watched step measured: a pytree of small arrays.

    Attributes:
        loss: the scalar that was differentiated (the first, if there are several).
        finite: 1.0 if loss, gradients and new parameters are all finite, else 0.0.
        value: statistics of inputs, activations, logits and taps, by site.
        cotangent: of the derivative of the loss by each activation, by site.
        parameter: of each parameter before the step, by site.
        gradient: of the derivative of the loss by each parameter, by site.
        update: of the change the step made to each parameter, by site.
        examples: the norm of the part that each example of the batch has in the
            gradient, shape ``(examples,)``; the parts add up to the gradient, so that
            of a mean over B losses the part of one is a B-th of its own gradient.
    """

    loss: Array | None
    finite: Array
    value: dict[Site, TensorStats]
    cotangent: dict[Site, TensorStats]
    parameter: dict[Site, TensorStats]
    gradient: dict[Site, TensorStats]
    update: dict[Site, TensorStats]
    examples: Array | None = None
