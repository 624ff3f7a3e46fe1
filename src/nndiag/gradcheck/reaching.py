"""What the leaves of a program flow into."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from nndiag.gradcheck.program import Program
from nndiag.jaxprs import compat
from nndiag.jaxprs.primitives import WRAPPINGS

Label = Callable[[Any], Hashable]


def reached(program: Program, label: Label) -> list[frozenset[Any]]:
    """For each checked leaf, the labels of the equations that it flows into.

    Args:
        program: the function.
        label: of an equation, `None` if it has none.
    """
    inner = compat.open_jaxpr(program.jaxpr)
    count = len(inner.invars)
    found: list[set[Any]] = [set() for _ in range(count)]
    _follow(inner, [frozenset({n}) for n in range(count)], found, label)
    return [frozenset(labels) for labels in found]


def _follow(
    jaxpr: Any, taints: Sequence[frozenset[int]], found: list[set[Any]], label: Label
) -> list[frozenset[int]]:
    """Follows the leaves through a body; returns on which each output depends."""
    held = dict(zip(jaxpr.invars, taints, strict=True))
    nothing = frozenset[int]()

    def read(atom: Any) -> frozenset[int]:
        return nothing if compat.is_literal(atom) else held.get(atom, nothing)

    for equation in jaxpr.eqns:
        together = nothing.union(*map(read, equation.invars))
        name = label(equation)
        if name is not None:
            for leaf in together:
                found[leaf].add(name)
        outputs = [together] * len(equation.outvars)
        for body in compat.jaxprs_in(equation):
            operands = [read(atom) for atom in equation.invars]
            same = equation.primitive.name in WRAPPINGS
            same = same and len(operands) == len(body.invars)
            inputs = operands if same else [together] * len(body.invars)
            ends = _follow(body, inputs, found, label)
            outputs = ends if same and len(ends) == len(outputs) else outputs
        held.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]
