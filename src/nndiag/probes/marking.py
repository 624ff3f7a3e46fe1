"""Differentiates a function with its activations, parameters and gradients marked."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence
from itertools import zip_longest
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.jaxprs import compat
from nndiag.jaxprs.bodies import Body, Path, rebuild
from nndiag.jaxprs.location import Location
from nndiag.jaxprs.marks import Mark, next_call, place
from nndiag.probes.examples import mark_examples
from nndiag.probes.loops import indexed
from nndiag.probes.partition import Partition, is_array
from nndiag.probes.plan import Plan, Use
from nndiag.probes.risks import watch_risks
from nndiag.probes.structures.placing import watch_structures
from nndiag.probes.survey import survey
from nndiag.records import Site

_FURTHER = {
    "marks of attention and other structures": watch_structures,
    "overflow sentinels": watch_risks,
}


def marked_vjp(
    vjp: Callable[..., Any],
    fun: Callable[..., Any],
    *primals: Any,
    has_aux: bool = False,
    examples: bool = False,
    **options: Any,
) -> Any:
    """`jax.vjp`, with marks in the function and on what goes in and comes out.

    A function that does not return one floating-point scalar is no loss, and is
    differentiated as it is.

    Args:
        vjp: the plain `jax.vjp`.
        fun: is differentiated.
        *primals: its arguments.
        has_aux: as that of `jax.vjp`.
        examples: whether to mark where parameters meet the examples of a batch.
        **options: others of `jax.vjp`.
    """
    leaves, structure = jax.tree.flatten(primals)
    result = Partition()
    jaxpr = compat.trace(
        lambda *values: result.split(fun(*structure.unflatten(values))), *leaves
    )
    if not _is_loss(jaxpr):
        return vjp(fun, *primals, has_aux=has_aux, **options)
    call = next_call()
    names = _names(primals)
    plan = survey(jaxpr, names, call)
    for what, add in _FURTHER.items():
        try:
            add(jaxpr, len(leaves), call, plan)
        except Exception as error:  # all else can still be watched
            warnings.warn(
                f"nndiag could not place all of its {what}: "
                f"{type(error).__name__}: {error}",
                stacklevel=2,
            )
    if examples:
        mark_examples(jaxpr, names, call, plan)
    if plan.unseen:
        warnings.warn(_unseen(plan.unseen), stacklevel=2)
    sites = _parameter_sites(leaves, names, plan)

    def marked(*values: Any) -> Any:
        body, constants = compat.open_jaxpr(jaxpr), compat.constants(jaxpr)
        outputs = _replay(body, constants, jax.tree.leaves(values), plan, ())
        return result.join(outputs)

    parameters = structure.unflatten(_place_each("parameter", call, sites, leaves))
    loss, pullback, *aux = vjp(marked, *parameters, has_aux=has_aux, **options)

    def marked_pullback(cotangent: Any) -> Any:
        gradients = pullback(cotangent)
        values, shape = jax.tree.flatten(gradients)
        tables = [n in plan.tables for n in range(len(sites))]
        return shape.unflatten(_place_each("gradient", call, sites, values, tables))

    return place(Mark("loss", Site("loss"), call), loss), marked_pullback, *aux


def _is_loss(jaxpr: Any) -> bool:
    outputs = compat.open_jaxpr(jaxpr).outvars
    return bool(outputs) and (
        outputs[0].aval.shape == ()
        and jnp.issubdtype(outputs[0].aval.dtype, jnp.floating)
    )


def _place_each(
    role: str,
    call: int,
    sites: Sequence[Site],
    values: Sequence[Any],
    details: Sequence[Hashable] = (),
) -> list[Any]:
    marked = zip_longest(sites, values, details)
    return [
        place(Mark(role, site, call, detail=detail), value)
        if _is_measurable(value)
        else value
        for site, value, detail in marked
    ]


def _is_measurable(value: Any) -> bool:
    return (
        is_array(value)
        and np.size(value) > 0
        and jnp.issubdtype(jnp.result_type(value), jnp.floating)
    )


def _unseen(names: set[str]) -> str:
    return (
        f"nndiag evaluates {', '.join(sorted(names))} in the loss whole: the layers "
        "inside are not in the readings"
    )


def _replay(
    jaxpr: Any, constants: Sequence[Any], values: Sequence[Any], plan: Plan, path: Path
) -> list[Any]:
    """Evaluates a jaxpr, placing the planned marks on its way."""
    known: dict[Any, Any] = {}
    planned, sentinels = plan.at(path), plan.sentinels.get(path, {})
    made = plan.made.get(path, {})

    def read(atom: Any) -> Any:
        return atom.val if compat.is_literal(atom) else known[atom]

    def write(variable: Any, value: Any) -> None:
        for mark, riders in planned.get(variable, ()):
            value = place(mark, value, *map(read, riders))
        known[variable] = value

    for variable, value in zip(jaxpr.constvars, constants, strict=True):
        write(variable, value)
    for variable, value in zip(jaxpr.invars, values, strict=True):
        write(variable, value)
    for index, equation in enumerate(jaxpr.eqns):
        changes = {}
        if plan.within((*path, index)):
            changes = rebuild(equation, lambda b, i=index: _marked(b, plan, (*path, i)))
        operands = [read(atom) for atom in equation.invars]
        sentinel = sentinels.get(index)
        if sentinel is not None and sentinel.operand is not None:
            riders = [operands[number] for number in sentinel.riders]
            marked = place(sentinel.mark, operands[sentinel.operand], *riders)
            operands[sentinel.operand] = marked
        outputs = compat.bind(equation, operands, **changes)
        if sentinel is not None and sentinel.operand is None:
            outputs[0] = place(sentinel.mark, outputs[0])
        if index in made:
            mark, numbers = made[index]
            riders = [operands[number] for number in numbers]
            outputs[0] = place(mark, outputs[0], *riders)
        for variable, value in zip(equation.outvars, outputs, strict=True):
            write(variable, value)
    return [read(atom) for atom in jaxpr.outvars]


def _marked(body: Body, plan: Plan, path: Path) -> Callable[..., list[Any]] | None:
    deeper = (*path, body.number)
    if not plan.within(deeper):
        return None
    jaxpr, constants = compat.open_jaxpr(body.jaxpr), compat.constants(body.jaxpr)
    return lambda *values: _replay(jaxpr, constants, values, plan, deeper)


def _names(primals: Sequence[Any]) -> list[str]:
    tree = primals[0] if len(primals) == 1 else primals
    return [_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def _name(path: tuple[Any, ...]) -> str:
    """The path to a leaf; of Flax's variables without the value that they hold."""
    if len(path) > 1 and path[-1] == jax.tree_util.GetAttrKey("value"):
        path = path[:-1]
    return jax.tree_util.keystr(path, simple=True, separator="/") or "parameter"


def _parameter_sites(
    leaves: Sequence[Any], names: Sequence[str], plan: Plan
) -> list[Site]:
    """A site for each differentiated leaf, ordered by where the leaf is first used."""
    unused = Use(max((u.order for u in plan.uses.values()), default=0) + 1, _NOWHERE)
    sites = []
    for index, (name, leaf) in enumerate(zip(names, leaves, strict=True)):
        use = plan.uses.get(index, unused)
        loops = plan.layers.get(index, ())
        sites.append(
            Site(
                indexed(name, loops),
                kind="parameter",
                scope=use.location.scope,
                order=use.order + sum(loop.shift for loop in loops),
                dtype=str(jnp.result_type(leaf)),
                shape=tuple(np.shape(leaf))[len(loops) :],
                file=use.location.file,
                line=use.location.line,
                axes=tuple(loop.axis for loop in loops),
            )
        )
    return sites


_NOWHERE = Location("", "", 0)
