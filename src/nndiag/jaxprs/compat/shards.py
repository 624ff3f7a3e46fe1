"""What a `shard_map` equation says, how to write another, and where arrays lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from nndiag.jaxprs.compat.equations import Equation, Jaxpr, struct


class Manual(NamedTuple):
    """What a `shard_map` equation says.

    Attributes:
        body: from the shards of the inputs to the shards of the outputs.
        names: of the mesh axes that the body is mapped over.
        sizes: of these axes.
        inputs: for each input, for each of its dimensions, the axes it is split over.
        outputs: the same of the outputs.
        checked: whether JAX has checked that outputs which are not split are alike.
    """

    body: Jaxpr
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    inputs: list[list[tuple[str, ...]]]
    outputs: list[list[tuple[str, ...]]]
    checked: bool


def manual(equation: Equation) -> Manual:
    """Reads a `shard_map` equation."""
    params = equation.params
    shape = params["mesh"].shape
    names = tuple(name for name in shape if name in _manual_axes(equation))

    def split(spec: Any, atom: Any) -> list[tuple[str, ...]]:
        parts = [*spec, *(None for _ in atom.aval.shape)][: len(atom.aval.shape)]
        return [
            () if part is None else (part,) if isinstance(part, str) else tuple(part)
            for part in parts
        ]

    return Manual(
        params["jaxpr"],
        names,
        tuple(shape[name] for name in names),
        [split(s, a) for s, a in zip(params["in_specs"], equation.invars, strict=True)],
        [
            split(s, a)
            for s, a in zip(params["out_specs"], equation.outvars, strict=True)
        ],
        bool(params.get("check_vma", True)),
    )


def _manual_axes(equation: Equation) -> Any:
    params = equation.params
    every = params["mesh"].shape
    return params.get("newly_manual_axes", params.get("manual_axes", every))


def remap(
    equation: Equation,
    fun: Callable[..., Any],
    out_specs: Any | None = None,
    in_specs: Any | None = None,
) -> Callable[..., Any]:
    """`fun` in place of the body of a `shard_map` equation.

    Args:
        equation: the equation.
        fun: from the shards of its inputs to shards.
        out_specs: of the outputs, by default those of the equation.
        in_specs: the same of the inputs.
    """
    params = equation.params
    return jax.shard_map(
        fun,
        mesh=params["mesh"],
        in_specs=tuple(params["in_specs"]) if in_specs is None else in_specs,
        out_specs=list(params["out_specs"]) if out_specs is None else out_specs,
        axis_names=set(_manual_axes(equation)),
        check_vma=params.get("check_vma", True),
    )


def retrace_shards(equation: Equation, fun: Callable[..., list[Any]]) -> Jaxpr:
    """The body that `fun` makes in place of that of a `shard_map` equation."""
    inputs = [struct(atom.aval) for atom in equation.invars]
    with equation.ctx.manager:
        closed = jax.make_jaxpr(remap(equation, fun))(*inputs)
    (traced,) = [e for e in closed.eqns if e.primitive is equation.primitive]
    return traced.params["jaxpr"]


def varying_axes(value: Any) -> frozenset[str]:
    """The mesh axes along which JAX holds that the shards of `value` may differ."""
    kind = getattr(jax.typeof(value), "mat", None)
    return frozenset(getattr(kind, "varying", ()))


def is_split(values: Sequence[Any]) -> bool:
    """Whether one of the values has a sharding in its type (explicit mode)."""
    return _explicit_mesh(values) is not None


def _explicit_mesh(values: Sequence[Any]) -> Any:
    for value in values:
        sharding = getattr(jax.typeof(value), "sharding", None)
        if isinstance(sharding, NamedSharding) and any(sharding.spec):
            return sharding.mesh
    return None


def gathered(fun: Callable[..., Any], values: Sequence[Any]) -> Any:
    """`fun(*values)`, where types have a sharding: its result is on all devices."""
    mesh = _explicit_mesh(values)
    whole = NamedSharding(mesh, PartitionSpec())
    with jax.sharding.use_abstract_mesh(mesh):
        return jax.sharding.auto_axes(fun, out_sharding=whole)(*values)


def replicate(array: Any, equation: Equation) -> Any:
    """What a `shard_map` equation has returned in shards, whole on all devices."""
    mesh = equation.params["mesh"]
    names = _manual_axes(equation)
    if any(kind == AxisType.Manual for kind in mesh.axis_types):
        return array  # within another shard_map
    kinds = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    whole = NamedSharding(mesh, PartitionSpec())
    if any(kinds[name] == AxisType.Explicit for name in names):
        return jax.sharding.reshard(array, whole)
    return jax.lax.with_sharding_constraint(array, whole)


def is_far(array: jax.Array) -> bool:
    """Whether NumPy could see the elements of `array` only by copying them."""
    return any(device.platform != "cpu" for device in array.devices())
