"""Steps with their own value and another derivative.

The result y of a step becomes ⌊y⌋ + s − ⌊s⌋, where ⌊·⌋ stops the gradient and the
surrogate s has the derivative that is wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.gradcheck.listing import Edit, Step, read
from nndiag.jaxprs import compat

REDUCING = {"reduce_sum": jnp.sum, "reduce_max": jnp.max, "reduce_min": jnp.min}


def _fixed(value: Any) -> Any:
    return jax.lax.stop_gradient(value)


def _edit(
    surrogate: Callable[[dict[int, Any], list[Any], Any, Step], Any],
) -> Edit:
    """An edit from s, given all values, the operands, the result and the step."""

    def edit(values: dict[int, Any], step: Step) -> list[Any]:
        operands = [read(values, atom) for atom in step.inputs]
        (result,) = compat.bind(step.equation, operands)
        slipped = surrogate(values, operands, result, step)
        return [_fixed(result) + slipped - _fixed(slipped)]

    return edit


def frozen(values: dict[int, Any], step: Step) -> list[Any]:
    """The step as it is, and no derivative of it."""
    operands = [read(values, atom) for atom in step.inputs]
    outputs = compat.bind(step.equation, operands)
    return [jax.lax.stop_gradient(output) for output in outputs]


def straight(origin: int) -> Edit:
    """The derivative by the value of number `origin` is 1."""
    return _edit(lambda values, operands, result, step: values[origin])


def sloped(slope: Callable[[Any, Any], Any]) -> Edit:
    """With this derivative, of the input and the output."""

    def surrogate(values: Any, operands: list[Any], result: Any, step: Step) -> Any:
        return _fixed(slope(operands[0], result)) * operands[0]

    return _edit(surrogate)


def without_factor(number: int) -> Edit:
    """A product whose derivative by operand `number` lacks the other factor."""

    def surrogate(values: Any, operands: list[Any], result: Any, step: Step) -> Any:
        own, other = operands[number], operands[1 - number]
        return own + _fixed(own) * other

    return _edit(surrogate)


def not_transposed(number: int) -> Edit:
    """A matrix product that passes back to an operand without a transposition."""

    def surrogate(values: Any, operands: list[Any], result: Any, step: Step) -> Any:
        left, right = operands
        if number == 0:
            return left @ _fixed(right).T + _fixed(left) @ right
        return _fixed(left).T @ right + left @ _fixed(right)

    return _edit(surrogate)


def always(number: int, shape: tuple[int, ...]) -> Edit:
    """The derivative of operand `number`, as if it were always chosen."""
    return _edit(
        lambda values, operands, result, step: jnp.broadcast_to(operands[number], shape)
    )


def reduced_across(maker: Step, kept: int) -> Edit:
    """What `maker` reduced of a square, differentiated along its other axis."""

    def surrogate(values: Any, operands: list[Any], result: Any, step: Step) -> Any:
        whole = read(values, maker.inputs[0])
        if whole.ndim != 2 or whole.shape[0] != whole.shape[1]:
            raise ValueError
        reduce = REDUCING[maker.equation.primitive.name]
        return reduce(whole, axis=kept, keepdims=True)

    return _edit(surrogate)


def repeated_across(kept: int) -> Edit:
    """A repeated row, summed back over the wrong axis of a square."""
    return _edit(
        lambda values, operands, result, step: jnp.expand_dims(operands[0], kept)
    )


def shifted(shift: int, axis: int) -> Edit:
    """A lookup whose derivative goes to the neighbour along an axis."""

    def surrogate(values: Any, operands: list[Any], result: Any, step: Step) -> Any:
        rolled = jnp.roll(operands[0], -shift, axis)
        return compat.bind(step.equation, [rolled, *operands[1:]])[0]

    return _edit(surrogate)


def overwritten(values: dict[int, Any], step: Step) -> list[Any]:
    """A lookup of which only the last use of each element counts."""

    def surrogate(values: Any, operands: list[Any], result: Any, step: Step) -> Any:
        numbers = jnp.arange(operands[0].size, dtype=operands[0].dtype)
        places = numbers.reshape(operands[0].shape)
        (read_at,) = compat.bind(step.equation, [places, *operands[1:]])
        flat = np.ravel(np.asarray(read_at))
        _, first = np.unique(flat[::-1], return_index=True)
        last = np.zeros(flat.size)
        last[flat.size - 1 - first] = 1
        return result * last.reshape(result.shape)

    return _edit(surrogate)(values, step)


def same_direction(values: dict[int, Any], step: Step) -> list[Any]:
    """A running sum that is summed back in its own direction."""
    params = step.equation.params

    def surrogate(values: Any, operands: list[Any], result: Any, step: Step) -> Any:
        backwards = not params["reverse"]
        return jax.lax.cumsum(operands[0], params["axis"], reverse=backwards)

    return _edit(surrogate)(values, step)


def with_factor(factor: Any) -> Edit:
    """A product of which the second operand gets `factor` for the first."""

    def surrogate(values: Any, operands: list[Any], result: Any, step: Step) -> Any:
        left, right = operands
        return left @ _fixed(right) + factor @ right

    return _edit(surrogate)
