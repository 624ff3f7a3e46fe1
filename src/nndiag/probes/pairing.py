"""Which output of a step is the next value of which parameter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from nndiag.jaxprs import compat
from nndiag.jaxprs.marks import has_marks, mark_primitive
from nndiag.probes.partition import Partition, is_array


def pair(
    jaxpr: Any,
    given: tuple[Partition, Any],
    returned: tuple[Partition, Any],
    parameters: set[int],
) -> dict[int, int]:
    """From the number of a parameter among the inputs to that of its next value.

    A part of the arguments that holds parameters is paired with the first part of the
    output of the same structure, shapes and types that depends on their gradients, or
    that is these very parameters, handed back.

    Args:
        jaxpr: the marked step.
        given: the partition of the arguments, and the arguments.
        returned: the partition of the output, and the output.
        parameters: numbers of the inputs that are parameters.
    """
    inputs, outputs = given[0].positions(), returned[0].positions()
    trained = _after_gradient(jaxpr, [False] * len(jaxpr.invars))
    parts = list(_parts(returned[1], 0))
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for start, part in _parts(given[1], 0):
        leaves, structure = jax.tree.flatten(part)
        numbers = [inputs.get(start + i) for i in range(len(leaves))]
        held = [i for i, number in enumerate(numbers) if number in parameters]
        if not held or all(numbers[i] in pairs for i in held):
            continue
        for begin, candidate in parts:
            others, other_structure = jax.tree.flatten(candidate)
            if structure != other_structure or not _alike(leaves, others):
                continue
            found = {
                number: outputs[begin + i]
                for i, number in enumerate(numbers)
                if i in held and number is not None and begin + i in outputs
            }
            if taken & set(found.values()):
                continue
            if found and all(
                trained[o] or jaxpr.outvars[o] is jaxpr.invars[n]
                for n, o in found.items()
            ):
                pairs |= found
                taken |= set(found.values())
                break
    return pairs


def _parts(tree: Any, start: int) -> Iterator[tuple[int, Any]]:
    """A tree and all its parts, outermost first, and where their leaves begin."""
    yield start, tree
    children = jax.tree.leaves(tree, is_leaf=lambda node: node is not tree)
    if len(children) == 1 and children[0] is tree:
        return
    for child in children:
        yield from _parts(child, start)
        start += len(jax.tree.leaves(child))


def _alike(leaves: Sequence[Any], others: Sequence[Any]) -> bool:
    return all(
        jnp.shape(a) == jnp.shape(b) and jnp.result_type(a) == jnp.result_type(b)
        for a, b in zip(leaves, others, strict=True)
        if is_array(a) and is_array(b)
    )


def _after_gradient(jaxpr: Any, tainted: Sequence[bool]) -> list[bool]:
    """Which outputs depend on a gradient, given which inputs do."""
    known = {v: t for v, t in zip(jaxpr.invars, tainted, strict=True) if t}
    for equation in jaxpr.eqns:
        operands = [not compat.is_literal(a) and a in known for a in equation.invars]
        outputs = [any(operands)] * len(equation.outvars)
        if equation.primitive is mark_primitive:
            outputs = [operands[0] or equation.params["mark"].role == "gradient"]
        elif equation.primitive.name == "jit" and has_marks(equation):
            body = compat.open_jaxpr(equation.params["jaxpr"])
            outputs = _after_gradient(body, operands)
        elif has_marks(equation):
            outputs = [True] * len(equation.outvars)
        known |= {v: t for v, t in zip(equation.outvars, outputs, strict=True) if t}
    return [not compat.is_literal(a) and a in known for a in jaxpr.outvars]
