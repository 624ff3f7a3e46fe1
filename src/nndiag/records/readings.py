"""What one watched step measured."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from nndiag.records.site import Site

Array = Any
"""A JAX or NumPy array, or a float: `records` imports neither library."""

Role = Literal["value", "cotangent", "parameter", "gradient", "update"]
"""What of a site was measured: its value, the derivative of the loss by it, or,
for a parameter, its value, its gradient, and the change that the step made to it."""


class TensorStats(NamedTuple):
    """Statistics of one array; scalars, `None` where not measured.

    They are float32, or float64 where the array is.

    Under `jax.lax.scan` or `jax.vmap` around the watched function each field gains
    the leading axes of the transform. The *batch* axes of an array are all its axes
    but the unit (channel) axis.

    Attributes:
        mean: arithmetic mean over all elements.
        std: standard deviation over all elements.
        norm: Euclidean norm over all elements, √Σx².
        largest: largest magnitude, max |x|; NaN or Inf when the array holds one.
        zero: share of elements that are exactly zero, 0 to 1.
        saturated: share of elements where the activation's derivative is nearly
            zero, 0 to 1 (see `nndiag.probes.activations`).
        slope: mean of the activation's derivative |f′(z)|.
        dead_units: share of units that are saturated at zero on the whole batch
            (a relu that passes nothing), 0 to 1.
        saturated_units: share of units saturated on every row of the batch, 0 to 1.
        cosine: of an update, the cosine between it and the negative gradient.
        entropy: of attention, the mean over queries of −Σ p ln p / ln n over the n
            keys, 0 (each query sees one key) to 1 (each sees all alike).
        ratio: of a residual branch, its norm over that of the stream it is added to.
        sample: up to 256 elements, evenly strided, for pictures of the distribution.
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
    sample: Array | None = None


QUANTITIES: tuple[str, ...] = tuple(f for f in TensorStats._fields if f != "sample")
"""The scalar fields of `TensorStats`, in order."""


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
    """

    loss: Array | None
    finite: Array
    value: dict[Site, TensorStats]
    cotangent: dict[Site, TensorStats]
    parameter: dict[Site, TensorStats]
    gradient: dict[Site, TensorStats]
    update: dict[Site, TensorStats]


class StepRecord(NamedTuple):
    """One step as it is stored: plain floats and NumPy arrays, nothing on a device.

    Attributes:
        step: number of the step, from 0.
        seconds: time since the run began, in seconds.
        loss: the loss, `None` if the step reported none.
        metrics: other scalars the step reported, by name.
        readings: what was measured, `None` on a step that was not recorded.
    """

    step: int
    seconds: float
    loss: float | None
    metrics: dict[str, float]
    readings: Readings | None = None
