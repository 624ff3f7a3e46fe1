"""The loop that evaluates a body, whatever its values are."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from nndiag.jaxprs import compat

Steps = Generator[tuple[Any, list[Any]], None, list[Any]]
"""An evaluation under way: after each equation, it and its outputs; in the end, the
outputs of the body."""


def interpret(
    jaxpr: Any,
    arguments: Sequence[Any],
    apply: Callable[[Any, list[Any]], list[Any]] = compat.bind,
    *,
    constants: Sequence[Any] | None = None,
    literal: Callable[[Any], Any] = compat.literal,
) -> Steps:
    """Evaluates the equations of `jaxpr` one by one; values go after their last use.

    Args:
        jaxpr: the body, open or closed.
        arguments: the values of its inputs.
        apply: the outputs of an equation at its operands.
        constants: the values of its constants, as they stand in the body if left out.
        literal: the value of a literal.
    """
    inner = compat.open_jaxpr(jaxpr)
    last = {
        atom: index
        for index, equation in enumerate(inner.eqns)
        for atom in equation.invars
        if not compat.is_literal(atom)
    }
    kept = {atom for atom in inner.outvars if not compat.is_literal(atom)}
    if constants is None:
        constants = compat.constants(jaxpr)
    values = dict(zip(inner.invars, arguments, strict=True))
    values.update(zip(inner.constvars, constants, strict=True))

    def read(atom: Any) -> Any:
        return literal(atom) if compat.is_literal(atom) else values[atom]

    for index, equation in enumerate(inner.eqns):
        outputs = apply(equation, [read(atom) for atom in equation.invars])
        values.update(zip(equation.outvars, outputs, strict=True))
        for atom in equation.invars:
            done = not compat.is_literal(atom) and last[atom] == index
            if done and atom not in kept:
                values.pop(atom, None)
        yield equation, outputs
    return [read(atom) for atom in inner.outvars]


def finish(steps: Steps) -> list[Any]:
    """The outputs of the body."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
