"""Replays `shard_map` (and `pmap`, which is one) on one device, all shards at once.

The shards of a value are stacked along leading axes, one for each axis of the mesh, and
each equation of the body is evaluated under `jax.vmap` with the mesh's axis names, so
that collectives see all shards.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.jaxprs import compat
from nndiag.replay.context import SHARD, Context
from nndiag.replay.detection import host, is_float
from nndiag.replay.evaluating import evaluate
from nndiag.replay.provenance import Value, simplify, spread

if TYPE_CHECKING:
    from nndiag.replay.walking import Walker

_COLLECTIVES = frozenset(
    [
        "psum",
        "psum_invariant",
        "psum2",
        "pmin",
        "pmax",
        "ppermute",
        "all_gather",
        "all_gather_invariant",
        "all_gather_reduced",
        "all_to_all",
        "reduce_scatter",
        "psum_scatter",
        "pgather",
        "ragged_all_to_all",
    ]
)
_UNCHANGED = frozenset({"pvary", "pcast", "pbroadcast", "reshard", "mesh_cast"})
"""They change only what JAX knows of how values differ between shards."""


def replay(
    walker: Walker, equation: Any, inputs: Sequence[Value], context: Context
) -> list[Value]:
    """The outputs of a `shard_map` equation, each with its labels."""
    plan = compat.manual(equation)
    stacked = [
        _mapped(value, lambda array, split=split: _split(array, split, plan))
        for value, split in zip(inputs, plan.inputs, strict=True)
    ]

    def bind(inner: Any, operands: Sequence[Any]) -> list[Any]:
        return _bind_stacked(inner, operands, plan)

    within = context.inside(equation, SHARD)._replace(
        bind=bind, mesh=plan.sizes, names=plan.names
    )
    outputs = walker.walk(plan.body, stacked, within)
    return [
        _mapped(value, lambda array, split=split: _join(array, split, plan))
        for value, split in zip(outputs, plan.outputs, strict=True)
    ]


def _mapped(value: Value, move: Any) -> Value:
    plain = is_float(value.data) or isinstance(value.data, np.ndarray)
    data = move(host(value.data) if plain else jnp.asarray(value.data))
    if not isinstance(value.labels, np.ndarray):
        return value._replace(data=data)
    return value._replace(data=data, labels=simplify(move(value.labels)))


def _split(array: Any, split: list[tuple[str, ...]], plan: compat.Manual) -> Any:
    """Stacks the shards of a whole array along the axes of the mesh."""
    size = dict(zip(plan.names, plan.sizes, strict=True))
    shape: list[int] = []
    places: dict[str, int] = {}
    rest: list[int] = []
    for length, names in zip(array.shape, split, strict=True):
        mapped = [name for name in names if name in size]
        for name in mapped:
            places[name] = len(shape)
            shape.append(size[name])
        rest.append(len(shape))
        shape.append(length // int(np.prod([size[name] for name in mapped], initial=1)))
    missing = [name for name in plan.names if name not in places]
    array = array.reshape(shape).transpose([*places.values(), *rest])
    inner = array.shape[len(places) :]
    array = array.reshape((*(1 for _ in missing), *array.shape))
    order = [[*missing, *places].index(name) for name in plan.names]
    tail = range(len(plan.names), array.ndim)
    xp = np if isinstance(array, np.ndarray) else jnp
    return xp.broadcast_to(array.transpose([*order, *tail]), (*plan.sizes, *inner))


def _join(array: Any, split: list[tuple[str, ...]], plan: compat.Manual) -> Any:
    """The whole array of stacked shards; along unmapped axes all shards are alike."""
    used = [name for names in split for name in names]
    first = tuple(slice(None) if name in used else 0 for name in plan.names)
    array = array[first]
    left = [name for name in plan.names if name in used]
    order: list[int] = []
    shape: list[int] = []
    for number, names in enumerate(split):
        mapped = [left.index(name) for name in names if name in left]
        order += [*mapped, len(left) + number]
        shape.append(
            int(np.prod([array.shape[axis] for axis in order[-len(mapped) - 1 :]]))
        )
    return array.transpose(order).reshape(shape)


def _bind_stacked(
    equation: Any, operands: Sequence[Any], plan: compat.Manual
) -> list[Any]:
    """Evaluates one equation of the body on all shards."""
    if equation.primitive.name in _UNCHANGED:
        return list(operands)
    mapped = [
        operand
        for atom, operand in zip(equation.invars, operands, strict=True)
        if not compat.is_literal(atom)
    ]

    def one_shard(_: Any, *values: Any) -> list[Any]:
        rest = iter(values)
        return compat.bind(
            equation,
            [
                compat.literal(atom) if compat.is_literal(atom) else next(rest)
                for atom in equation.invars
            ],
        )

    every = one_shard
    for name, size in reversed(list(zip(plan.names, plan.sizes, strict=True))):
        every = jax.vmap(every, axis_name=name, axis_size=size)
    return every(np.zeros(plan.sizes), *mapped)


def communicates(equation: Any) -> bool:
    """Whether shards exchange values anywhere in the bodies of `equation`."""
    return any(
        inner.primitive.name in _COLLECTIVES or communicates(inner)
        for body in compat.jaxprs_in(equation)
        for inner in body.eqns
    )


def replay_apart(
    walker: Walker,
    equation: Any,
    inputs: Sequence[Value],
    context: Context,
    maker: Any,
) -> list[Value]:
    """Evaluates an equation shard by shard, each on its own way through it."""
    mesh = context.mesh
    columns: list[list[Value]] = []
    for shard in range(int(np.prod(mesh))):
        alone = context._replace(
            path=with_shard(context.path, shard),
            bind=functools.partial(_bind_alone, context.names, mesh, shard),
            mesh=(),
        )
        picked = [
            _mapped(value, lambda array, shard=shard: pick(array, shard, mesh))
            for value in inputs
        ]
        columns.append(
            walker.evaluate(equation, picked, alone, maker_of_shard(maker, shard, mesh))
        )
    return [_gathered(row, mesh) for row in zip(*columns, strict=True)]


def _bind_alone(
    names: tuple[str, ...],
    mesh: tuple[int, ...],
    shard: int,
    equation: Any,
    operands: Sequence[Any],
) -> list[Any]:
    """Evaluates an equation of one shard."""
    if equation.primitive.name in _UNCHANGED:
        return list(operands)
    if equation.primitive.name == "axis_index":
        axis = names.index(equation.params["axis_name"])
        return [np.asarray(np.unravel_index(shard, mesh)[axis], np.int32)]
    return evaluate(equation, operands)


def _gathered(row: Sequence[Value], mesh: tuple[int, ...]) -> Value:
    """The value that has these shards."""
    if is_float(row[0].data):
        data: Any = np.stack([host(value.data) for value in row])
    else:
        data = jnp.stack([value.data for value in row])
    data = data.reshape((*mesh, *data.shape[1:]))
    labels = np.stack([spread(value) for value in row]).reshape(data.shape)
    node = next((value.node for value in row if value.node is not None), None)
    return Value(data, simplify(labels), node)


def with_shard(path: tuple[str, ...], shard: int) -> tuple[str, ...]:
    """`path` with its shard known."""
    return tuple(f"{SHARD}[{shard}]" if part == SHARD else part for part in path)


def maker_of_shard(maker: Any, shard: int, mesh: tuple[int, ...]) -> Any:
    """`maker`, of one shard's values."""

    def made(variable: Any) -> Any:
        found = None if maker is None else maker(variable)
        if found is None:
            return None
        equation, operands = found
        return equation, [pick(operand, shard, mesh) for operand in operands]

    return made


def shard_of(bad: Any, mesh: tuple[int, ...]) -> int:
    """Row-major number of the first shard with a marked element."""
    marked = bad.reshape(int(np.prod(mesh)), -1).any(axis=1)
    return int(np.argmax(marked))


def pick(value: Any, shard: int, mesh: tuple[int, ...]) -> Any:
    """The part of a stacked value that belongs to a shard."""
    return value[np.unravel_index(shard, mesh)]
