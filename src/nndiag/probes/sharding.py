"""How the collector enters `shard_map` (and `pmap`, which is one).

Statistics leave it as one small vector for each device, and are combined outside to
those of the whole arrays (see `nndiag.probes.uniting`).

A scalar that is differentiated inside, and differs between devices, stands for its mean
over them, and so do its derivatives. JAX differentiates the sum over the devices (over
all of them if it does not check how values vary), so derivatives are divided by their
number. Of a parameter that is the same on all devices, each may have its own part of
the gradient: the parts are summed, by the program's own `psum` or `pmean` where there
is one right after the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from nndiag.jaxprs import compat
from nndiag.jaxprs.marks import Mark
from nndiag.probes import statistics
from nndiag.probes.descent import Descent, Flow
from nndiag.probes.harvest import Harvest, Key
from nndiag.probes.later import finish
from nndiag.probes.packing import Layout, pack
from nndiag.probes.replication import SUMS, Axes, named_axes
from nndiag.probes.uniting import Union, relative_range, unite
from nndiag.records import TensorStats

if TYPE_CHECKING:
    from nndiag.probes.collecting import Collector
    from nndiag.probes.entering import Result


_UNSTACKING = {"squeeze", "reshape", "slice", "dynamic_slice"}


class Shards:
    """What a collector knows of the `shard_map` that it is in.

    Attributes:
        plan: what the equation says.
        summed: the gradients that are summed over devices already: over which axes.
        marks: of the gradients.
    """

    def __init__(self, plan: compat.Manual) -> None:
        self.plan = plan
        self.summed: dict[Key, Axes] = {}
        self.marks: dict[Key, Mark] = {}

    def meet(self, key: Key, mark: Mark) -> None:
        """Takes note of a gradient."""
        self.marks[key] = mark
        self.summed.pop(key, None)  # a body can be traced again

    def size(self, axes: Axes) -> int:
        """Number of devices along axes of the mesh."""
        sizes = dict(zip(self.plan.names, self.plan.sizes, strict=True))
        return math.prod(size for name, size in sizes.items() if name in axes)

    def unstack(self, jaxpr: Any, equation: Any, inputs: dict[Any, int]) -> None:
        """Takes a copy that is taken off a stack of one for that input itself."""
        if jaxpr is compat.open_jaxpr(self.plan.body) and (
            equation.primitive.name in _UNSTACKING
        ):
            atom, output = equation.invars[0], equation.outvars[0]
            if atom in inputs and atom.aval.size == output.aval.size:
                inputs[output] = inputs[atom]

    def follow(
        self, equation: Any, outputs: Sequence[Any], descent: Descent, read: Harvest
    ) -> None:
        """Takes note of a sum over devices of a gradient."""
        if equation.primitive.name not in SUMS or equation.params.get(
            "axis_index_groups"
        ):
            return
        for atom, output in zip(equation.invars, outputs, strict=True):
            step = None if compat.is_literal(atom) else descent.scaled.get(atom)
            if step is None or type(step.scale) is not float or step.scale != 1:
                continue
            if step.key in read.gradients and step.key not in self.summed:
                self.summed[step.key] = named_axes(equation)
                read.gradients[step.key] = output


def enter_shard_map(collector: Collector, equation: Any, operands: list[Any]) -> Result:
    """Evaluates a `shard_map` with marks in its body."""
    plan = compat.manual(equation)
    shards, outer = Shards(plan), collector.shards
    left: list[tuple[Layout, Flow, set[int]]] = []

    def call(*values: Any) -> tuple[list[Any], Any, list[dict[Key, Any]]]:
        collector.shards = shards
        try:
            outputs, read, flow = collector.run(
                compat.open_jaxpr(plan.body), compat.constants(plan.body), values
            )
        finally:
            collector.shards = outer
        sum_gradients(collector, shards, read)
        gradients = _leaving(collector, shards, read, flow.origins, values)
        read.let_go()
        read.examples.clear()
        packed = pack(read)
        left[:] = [(packed.layout, flow, set(read.losses))]
        rows = packed.numbers.reshape(*([1] * len(plan.names)), -1)
        return outputs, rows, gradients

    apart = PartitionSpec(*plan.names)
    specs = equation.params
    mapped = compat.remap(
        equation,
        call,
        (list(specs["out_specs"]), apart, list(specs["in_specs"])),
    )
    with compat.source(equation), equation.ctx.manager:
        outputs, rows, gradients = mapped(*operands)
        ((layout, flow, calls),) = left
        read = layout.unpack(compat.replicate(rows, equation), layout.leaves)
        read = unite(read, Union(collector.replication, shards, calls))
    for held in gradients:
        read.gradients.update(held)
    _note_claims(collector, equation, flow)
    return outputs, read, Flow.nothing()._replace(origins=flow.origins)


def sum_gradients(
    collector: Collector, shards: Shards, read: Harvest, *, add: bool = True
) -> None:
    """Describes the gradients of which each device has its own part, summed.

    Args:
        collector: has the level.
        shards: the `shard_map`.
        read: its gradients are those to describe.
        add: whether a sum that the program does not make may be added.
    """
    for key, gradient in read.gradients.items():
        stats = read.stats["gradient"].get(key)
        done = shards.summed.pop(key, frozenset())
        missing = _parts(collector, key) - done
        if stats is None or not (missing or done) or (missing and not add):
            continue
        if missing:
            gradient = jax.lax.psum(gradient, tuple(sorted(missing)))
        mark = shards.marks[key]
        whole = finish(statistics.describe_derivative(mark, collector.level, gradient))
        read.stats["gradient"][key] = whole._replace(spread=stats.norm)
        read.gradients[key] = gradient
        shards.summed[key] = done | missing


def _parts(collector: Collector, key: Key) -> Axes:
    """The axes along which each device has its own part of a gradient."""
    own = collector.replication.of("parameter", key)
    found = collector.replication.of("gradient", key).axes
    return found - (own.axes - own.copies)


def _leaving(
    collector: Collector,
    shards: Shards,
    read: Harvest,
    origins: dict[Key, int],
    values: Sequence[Any],
) -> list[dict[Key, Any]]:
    """The gradients of the inputs, by input, as these are sharded."""
    leaving: list[dict[Key, Any]] = [{} for _ in values]
    for key, gradient in read.gradients.items():
        position = origins.get(key)
        if position is None or not collector.level.updates:
            continue
        split = shards.plan.inputs[position]
        own = frozenset(name for names in split for name in names)
        value = values[position]
        differs = compat.varying_axes(gradient) - own
        if (differs and shards.plan.checked) or jnp.size(value) != jnp.size(gradient):
            continue
        leaving[position][key] = gradient.reshape(value.shape)
    return leaving


class Claim(NamedTuple):
    """That the updates of a parameter are alike on all devices, unchecked by JAX.

    Attributes:
        equation: the `shard_map` that makes them.
        split: for each dimension of the parameter, the axes it is split over.
        stacked: whether the copies of the devices are stacked along the first.
    """

    equation: Any
    split: list[tuple[str, ...]]
    stacked: bool


def _note_claims(collector: Collector, equation: Any, flow: Flow) -> None:
    plan = compat.manual(equation)
    if plan.checked:
        return
    names = frozenset(plan.names)
    differ = collector.replication.outputs(equation)
    loose = [
        axes - _mapped(split) for axes, split in zip(differ, plan.outputs, strict=True)
    ]
    for key, position in flow.origins.items():
        split = plan.inputs[position]
        stacked = bool(collector.replication.of("parameter", key).copies)
        alike = names - _mapped(split)
        if stacked or any(axes & alike for axes in loose):
            collector.claims[key] = Claim(equation, split, stacked)


def _mapped(split: Sequence[Sequence[str]]) -> Axes:
    return frozenset(name for names in split for name in names)


def with_spread(
    stats: TensorStats, claim: Claim, before: Any, after: Any
) -> TensorStats:
    """The statistics of an update, with the spread of its norm over the devices.

    Args:
        stats: of the update, of each copy if they are stacked.
        claim: that it is alike.
        before: the parameter.
        after: its next value.
    """
    if claim.stacked:
        return stats._replace(spread=relative_range(jnp.asarray(stats.norm)))
    equation, split, _ = claim
    plan = compat.manual(equation)
    spec = PartitionSpec(*(tuple(names) or None for names in split))

    def measure(old: Any, new: Any) -> Any:
        size = finish(statistics.root(statistics.difference(old, new)))
        own = tuple(sorted(_mapped(split)))
        if own:  # the shards of one copy
            size = jnp.sqrt(jax.lax.psum(jnp.square(size), own))
        return size.reshape([1] * len(plan.names))

    # Each device measures what it has: JAX believes that all have the same.
    apart = PartitionSpec(*plan.names)
    mapped = compat.remap(equation, measure, apart, in_specs=(spec, spec))
    with equation.ctx.manager:
        norms = compat.replicate(mapped(before, after), equation)
    return stats._replace(spread=relative_range(norms.ravel()))
