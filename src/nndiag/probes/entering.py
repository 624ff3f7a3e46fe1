"""How the collector enters the primitives that hold bodies.

Statistics leave a scan stacked along a new leading axis, a `while` as those of its last
iteration, and a `cond` as NaN from the branch not taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.extend.core import jaxpr_as_fun

from nndiag.jaxprs import compat
from nndiag.jaxprs.marks import has_marks
from nndiag.probes.descent import Flow, out_of_jit
from nndiag.probes.harvest import Harvest, Key, all_finite
from nndiag.probes.later import finish
from nndiag.probes.packing import PackedReadings, pack
from nndiag.probes.sharding import enter_shard_map, sum_gradients
from nndiag.probes.stacked import Stacked, shared

if TYPE_CHECKING:
    from nndiag.probes.collecting import Collector

Result = tuple[list[Any], Harvest, Flow]
"""Outputs of a jaxpr; what was read in it; what passes from its inputs to outputs."""


def _enter_jit(collector: Collector, equation: Any, operands: list[Any]) -> Result:
    body = equation.params["jaxpr"]
    flows: list[tuple[Flow, Callable[[list[Any]], Harvest]]] = []

    def call(*values: Any) -> Any:
        outputs, harvest, flow = collector.run(
            compat.open_jaxpr(body), compat.constants(body), values
        )
        leaves, build = shared(harvest)
        flows[:] = [(out_of_jit(flow), build)]
        return outputs, leaves

    call.__name__ = equation.params["name"]
    # What is read after an eager call needs its arguments: those are not given away.
    traced = all(isinstance(operand, Tracer) for operand in operands)
    options = compat.jit_options(equation, donate=traced)
    with compat.source(equation), equation.ctx.manager:
        outputs, leaves = jax.jit(call, **options)(*operands)
    flow, build = flows[0]
    return outputs, build(leaves), flow


def _enter_call(collector: Collector, equation: Any, operands: list[Any]) -> Result:
    """Enters what `jax.checkpoint` computes ahead of the backward pass."""
    body = equation.params["call_jaxpr"]
    return collector.run(compat.open_jaxpr(body), compat.constants(body), operands)


def _enter_remat(collector: Collector, equation: Any, operands: list[Any]) -> Result:
    body = equation.params["jaxpr"]
    origins: dict[Key, int] = {}
    builds: list[Callable[[list[Any]], Harvest]] = []

    def call(*values: Any) -> list[Any]:
        before, collector.recomputes = collector.recomputes, True
        try:
            outputs, harvest, flow = collector.run(body, (), values)
        finally:
            collector.recomputes = before
        origins.update(flow.origins)
        leaves, build = shared(harvest)
        builds[:] = [build]
        return [*outputs, *leaves]

    changed = compat.retrace(body, call)
    outputs = compat.bind(equation, operands, jaxpr=changed)
    count = len(equation.outvars)
    harvest = builds[0](outputs[count:])
    return outputs[:count], harvest, Flow.nothing()._replace(origins=origins)


def _enter_scan(collector: Collector, equation: Any, operands: list[Any]) -> Result:
    body = equation.params["jaxpr"]
    constants, carried = compat.scan_split(equation)
    fixed = operands[:constants]
    origins: dict[Key, int] = {}

    def step(carry: list[Any], x: list[Any]) -> tuple[list[Any], Any]:
        values = [*fixed, *carry, *x]
        outputs, harvest, flow = collector.run(
            compat.open_jaxpr(body), compat.constants(body), values
        )
        # Within the loop the carry is the state: input constants + i is output i.
        pairs = {constants + i: i for i in range(carried)}
        collector.read_updates(harvest, flow, pairs, values, outputs)
        if collector.shards is not None:
            sum_gradients(collector, collector.shards, harvest)
        harvest.let_go()
        origins.update({k: i for k, i in flow.origins.items() if i < constants})
        # One row of numbers for each iteration: many would cost a copy for each.
        finite = all_finite(harvest).astype(jnp.float32)
        rest = harvest._replace(stats={}, finite=[finite])
        return outputs[:carried], (outputs[carried:], finish(rest), pack(harvest.stats))

    with compat.source(equation):
        carry, (stacked, rest, packed) = jax.lax.scan(
            step,
            operands[constants : constants + carried],
            operands[constants + carried :],
            length=equation.params["length"],
            reverse=equation.params["reverse"],
            unroll=equation.params["unroll"],
        )
        harvest = rest._replace(stats=_stats(collector, packed))
    return [*carry, *stacked], harvest, Flow.nothing()._replace(origins=origins)


def _stats(collector: Collector, packed: PackedReadings) -> Any:
    """The statistics of all iterations, left in their rows where that is possible."""
    if collector.shards is not None:
        return packed.unpacked
    layout = packed.layout
    return layout.structure.unflatten(
        [Stacked(packed.numbers, place) for place in layout.places]
    )


def _enter_cond(collector: Collector, equation: Any, operands: list[Any]) -> Result:
    index, *values = operands
    branches = equation.params["branches"]

    def evaluate(branch: Any) -> Callable[..., tuple[list[Any], Harvest]]:
        def call(*inputs: Any) -> tuple[list[Any], Harvest]:
            outputs, harvest, _ = collector.run(
                compat.open_jaxpr(branch), compat.constants(branch), inputs
            )
            _forget_gradients(collector, harvest)
            return outputs, finish(harvest)

        return call

    calls = [evaluate(branch) for branch in branches]
    shapes = [jax.eval_shape(call, *values)[1] for call in calls]

    def filled(call: Callable[..., tuple[list[Any], Harvest]]) -> Callable[..., Any]:
        def run(*inputs: Any) -> Any:
            outputs, harvest = call(*inputs)
            for shape in shapes:
                for role, readings in shape.stats.items():
                    for key, stats in readings.items():
                        harvest.put(role, key, jax.tree.map(_missing, stats))
                for key, parts in shape.examples.items():
                    harvest.examples.setdefault(key, jax.tree.map(_nothing, parts))
                for number, loss in shape.losses.items():
                    harvest.losses.setdefault(number, _missing(loss))
            return outputs, harvest._replace(finite=[all_finite(harvest)])

        return run

    with compat.source(equation):
        outputs, harvest = jax.lax.switch(index, [filled(c) for c in calls], *values)
    return outputs, harvest, Flow.nothing()


def _enter_while(collector: Collector, equation: Any, operands: list[Any]) -> Result:
    condition, body = equation.params["cond_jaxpr"], equation.params["body_jaxpr"]
    tested = equation.params["cond_nconsts"]
    fixed = equation.params["body_nconsts"]
    outside, constants = operands[:tested], operands[tested : tested + fixed]
    carry = operands[tested + fixed :]

    def once(values: list[Any]) -> tuple[list[Any], Harvest]:
        inputs = [*constants, *values]
        outputs, harvest, flow = collector.run(
            compat.open_jaxpr(body), compat.constants(body), inputs
        )
        pairs = {fixed + i: i for i in range(len(values))}
        collector.read_updates(harvest, flow, pairs, inputs, outputs)
        _forget_gradients(collector, harvest)
        return outputs, finish(harvest._replace(finite=[all_finite(harvest)]))

    def goes_on(state: tuple[list[Any], Harvest]) -> Any:
        known = compat.open_jaxpr(condition), compat.constants(condition)
        (answer,), _, _ = collector.run(*known, [*outside, *state[0]])
        return answer

    def advance(state: tuple[list[Any], Harvest]) -> tuple[list[Any], Harvest]:
        values, last = state
        outputs, harvest = structure.unflatten(traced(*jax.tree.leaves(values)))
        (finite,), (before,) = harvest.finite, last.finite
        return outputs, harvest._replace(finite=[finite & before])

    with compat.source(equation):
        # Traced once: gradient calls are numbered anew in each trace.
        closed, shape = jax.make_jaxpr(once, return_shape=True)(carry)
        traced, structure = jaxpr_as_fun(closed), jax.tree.structure(shape)
        nothing = jax.tree.map(_missing, shape[1])._replace(finite=[jnp.asarray(True)])
        outputs, harvest = jax.lax.while_loop(goes_on, advance, (carry, nothing))
    return outputs, harvest, Flow.nothing()


def _forget_gradients(collector: Collector, harvest: Harvest) -> None:
    """Of gradients in a body that not every device need run, no sum may be added."""
    if collector.shards is not None:
        sum_gradients(collector, collector.shards, harvest, add=False)
    harvest.let_go()


def _nothing(shape: Any) -> Any:
    return jnp.zeros(shape.shape, shape.dtype)


def _missing(shape: Any) -> Any:
    if not jnp.issubdtype(shape.dtype, jnp.floating):
        return _nothing(shape)
    return jnp.full(shape.shape, jnp.nan, shape.dtype)


Rule = Callable[["Collector", Any, list[Any]], Result]
_RULES: dict[str, Rule] = {
    "jit": _enter_jit,
    "closed_call": _enter_call,
    "eval_jaxpr": _enter_call,
    "remat2": _enter_remat,
    "scan": _enter_scan,
    "cond": _enter_cond,
    "while": _enter_while,
    "shard_map": enter_shard_map,
}
_FILLED = {"cond", "while"}
"""Where readings can be missing, and are NaN then: that would stop `jax_debug_nans`."""


def rule_for(equation: Any) -> Rule | None:
    """How to enter `equation`, if marks stand in it and it can be entered."""
    rule = _RULES.get(equation.primitive.name)
    if rule is None or not has_marks(equation):
        return None
    if equation.primitive.name in _FILLED and compat.debug_nans_is_on():
        return None
    return rule
