"""A body that also says which of its equations made a NaN or Inf, compiled.

It flags what `detection.newborn` finds, equation by equation, at any depth: what is
in a loop is flagged if any iteration makes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from nndiag.jaxprs import compat
from nndiag.replay import lanes
from nndiag.replay.detection import is_float, newborn
from nndiag.replay.entering import wrapped
from nndiag.replay.interpreting import finish, interpret


def flagged(
    jaxpr: Any, arguments: Sequence[Any], going: Any = None
) -> tuple[list[Any], Any]:
    """The outputs of `jaxpr`, and its flags: two for each float that is made.

    Args:
        jaxpr: the body.
        arguments: what goes in.
        going: the lanes in which something counts as made, `None` for all.
    """
    flags: list[Any] = [jnp.zeros((0,), bool)]

    def apply(equation: Any, operands: list[Any]) -> list[Any]:
        outputs, raised = _evaluate(equation, operands, going)
        flags.append(raised)
        return outputs

    return finish(interpret(jaxpr, arguments, apply)), jnp.concatenate(flags)


def _evaluate(
    equation: Any, operands: Sequence[Any], going: Any
) -> tuple[list[Any], Any]:
    name = equation.primitive.name
    body = wrapped(equation)
    if body is not None:
        return flagged(body, operands, going)
    if name == "cond":
        return _flagged_cond(equation, operands, going)
    if name == "scan":
        return _flagged_scan(equation, operands, going)
    if name == "while":
        return _flagged_while(equation, operands, going)
    outputs = compat.bind(equation, operands)
    literals = [compat.is_literal(atom) for atom in equation.invars]
    births = [
        lanes.within(mask, going).any()
        for output in outputs
        if is_float(output)
        for mask in newborn(equation, operands, literals, output, jnp)
    ]
    return outputs, jnp.stack(births) if births else jnp.zeros((0,), bool)


def _flagged_cond(
    equation: Any, operands: Sequence[Any], going: Any
) -> tuple[list[Any], Any]:
    branches = equation.params["branches"]
    sizes = [_count(branch, operands[1:]) for branch in branches]
    before = [sum(sizes[:i]) for i in range(len(sizes))]

    def enter(number: int) -> Any:
        def branch(*arguments: Any) -> tuple[list[Any], Any]:
            outputs, raised = flagged(branches[number], arguments, going)
            row = jnp.zeros((sum(sizes),), bool)
            return outputs, row.at[before[number] + jnp.arange(sizes[number])].set(
                raised
            )

        return branch

    index = jnp.asarray(operands[0], jnp.int32)
    return jax.lax.switch(
        index, [enter(number) for number in range(len(branches))], *operands[1:]
    )


def _count(jaxpr: Any, arguments: Sequence[Any]) -> int:
    """Length of the vector of flags of a body."""
    return jax.eval_shape(lambda *a: flagged(jaxpr, a)[1], *arguments).shape[0]


def _flagged_scan(
    equation: Any, operands: Sequence[Any], going: Any
) -> tuple[list[Any], Any]:
    constants, carried = compat.scan_split(equation)
    fixed = operands[:constants]
    body = equation.params["jaxpr"]

    def step(state: Any, inputs: Any) -> Any:
        carry, seen = state
        outputs, raised = flagged(body, [*fixed, *carry, *inputs], going)
        return (outputs[:carried], seen | raised), outputs[carried:]

    start = [jnp.asarray(v) for v in operands[constants : constants + carried]]
    scanned = list(operands[constants + carried :])
    first = [jax.tree.map(lambda x: x[0], value) for value in scanned]
    size = _count(body, [*fixed, *start, *first]) if equation.params["length"] else 0
    (carry, seen), stacked = jax.lax.scan(
        step,
        (start, jnp.zeros((size,), bool)),
        scanned,
        length=equation.params["length"],
        reverse=equation.params["reverse"],
    )
    return [*carry, *stacked], seen


def _flagged_while(
    equation: Any, operands: Sequence[Any], outer: Any
) -> tuple[list[Any], Any]:
    tests, constants = (
        equation.params["cond_nconsts"],
        equation.params["body_nconsts"],
    )
    asked, fixed = operands[:tests], operands[tests : tests + constants]
    start = [jnp.asarray(value) for value in operands[tests + constants :]]
    body = equation.params["body_jaxpr"]

    def going(carry: Any) -> Any:
        return flagged(equation.params["cond_jaxpr"], [*asked, *carry])[0][0]

    def step(state: Any) -> Any:
        carry, seen = state
        answers = going(carry)
        alive = lanes.inner(answers, outer)
        outputs, raised = flagged(body, [*fixed, *carry], alive)
        if answers.ndim:
            outputs = [
                lanes.choose(answers, new, old)
                for new, old in zip(outputs, carry, strict=True)
            ]
        return outputs, seen | raised

    size = _count(body, [*fixed, *start])
    return jax.lax.while_loop(
        lambda state: going(state[0]).any(), step, (start, jnp.zeros((size,), bool))
    )
