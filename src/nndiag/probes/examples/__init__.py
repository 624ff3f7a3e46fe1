"""The norm of the part that each example of a batch has in the gradient.

The part g_i of example i is what flows to the parameters through its own row of the
activations; all parts add up to the gradient of all that the examples take part in. Of
a loss that is the mean of losses ℓ_i, g_i = ∂ℓ_i/∂θ / B. Norms are found without the
parts (Goodfellow 2015, arXiv:1510.01799): where an example's row x meets a weight and
the derivative δ by the result comes back, g_i is their product, of norm ‖x‖‖δ‖.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from nndiag.jaxprs.marks import Mark
from nndiag.probes.examples.norms import Parts, needs_factors, squared
from nndiag.probes.examples.survey import find
from nndiag.probes.examples.uses import Use, factors
from nndiag.probes.examples.weights import Weight
from nndiag.probes.plan import Made, Plan
from nndiag.records import Site


def mark_examples(jaxpr: Any, names: Sequence[str], call: int, plan: Plan) -> None:
    """Adds to `plan` where the parameters of a loss meet the examples of its batch.

    What the norms will leave out, or why there are none, is told in warnings.

    Args:
        jaxpr: closed jaxpr of the loss as a function of its differentiated leaves.
        names: of these leaves.
        call: number of the gradient call.
        plan: is added to.
    """
    try:
        found = find(jaxpr, names)
    except Exception as error:  # all else can still be watched
        warnings.warn(
            "nndiag could not find the examples of the batch: "
            f"{type(error).__name__}: {error}",
            stacklevel=2,
        )
        return
    for note in found.notes:
        warnings.warn(note, stacklevel=2)
    site = Site("example", kind="parameter")
    for path, uses in found.uses.items():
        plan.made[path] = {
            index: Made(Mark("use", site, call, detail=use), operands)
            for index, (use, operands) in uses.items()
        }


def parts_of(use: Use, delta: Any, *read: Any) -> Parts:
    """What the norms need of one use, as soon as the derivative is back."""
    found = factors(use, delta, *read)
    return found if needs_factors(use) else (squared(use, found),)


def of_gradient(mark: Mark, gradient: Any, number: int) -> tuple[Use, Parts]:
    """The squared norms of gradients that the program itself takes of each example.

    Args:
        mark: that of the gradient, with the axis of the examples.
        gradient: of one parameter, of each example.
        number: of the parameter.
    """
    (axis,) = mark.batched
    array = jnp.moveaxis(jnp.asarray(gradient, jnp.float32), axis, 0)
    size = len(array)
    part = array.reshape(size, math.prod(array.shape[1:])) / size
    use = Use(number, Weight(-1 - number, ()), "sum", "", (0, 0), size, (), 0)
    return use, (jnp.square(part).sum(1),)
