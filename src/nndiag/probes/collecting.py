"""Rewrites a marked program to return, beside its outputs, what its marks point at.

Each mark is replaced by its operand and by statistics of it. Statistics leave a scan
stacked along a new leading axis, and a `cond` as NaN from the branch not taken. A
primitive whose bodies cannot be rewritten is evaluated whole; the marks in it are lost,
which is noted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from nndiag.jaxprs import compat
from nndiag.jaxprs.marks import Mark, mark_primitive
from nndiag.probes import statistics
from nndiag.probes.descent import Descent, Flow, Scaled, describe_step, out_of_jit
from nndiag.probes.harvest import Harvest, Key, all_finite
from nndiag.probes.level import Level


class Collector:
    """Evaluates marked jaxprs under one level.

    Attributes:
        level: what to measure.
        missed: names of the primitives whose marks were lost.
    """

    def __init__(self, level: Level) -> None:
        self.level = level
        self.missed: set[str] = set()

    def run(
        self, jaxpr: Any, constants: Sequence[Any], values: Sequence[Any]
    ) -> _Result:
        """Evaluates `jaxpr`.

        Returns:
            Its outputs; the harvest; and what passes from its inputs to its outputs.
        """
        known: dict[Any, Any] = {}
        harvest = Harvest.empty()
        origins: dict[Key, int] = {}
        descent = Descent()
        inputs = {variable: i for i, variable in enumerate(jaxpr.invars)}
        known.update(zip(jaxpr.constvars, constants, strict=True))
        known.update(zip(jaxpr.invars, values, strict=True))
        for equation in jaxpr.eqns:
            operands = [
                a.val if compat.is_literal(a) else known[a] for a in equation.invars
            ]
            rule = _rule(equation)
            if equation.primitive is mark_primitive:
                mark = equation.params["mark"]
                self._read(mark, operands, harvest)
                outputs = operands[:1]
                (atom, *_), (output,) = equation.invars, equation.outvars
                if not compat.is_literal(atom) and atom in inputs:
                    # A marked input stays that input, for a second gradient call.
                    inputs[output] = inputs[atom]
                    if mark.role == "parameter":
                        key = mark.call, mark.site
                        origins.setdefault(key, inputs[atom])
                if mark.role == "gradient" and not mark.batched:
                    step = Scaled((mark.call, mark.site), 1.0)
                    descent.scaled[output] = step
            elif rule is not None:
                outputs, inner, flow = rule(self, equation, operands)
                fresh = harvest.add(inner)
                descent.enter(equation, flow, inputs, fresh)
                for (call, site), position in flow.origins.items():
                    atom = equation.invars[position]
                    if not compat.is_literal(atom) and atom in inputs:
                        key = fresh.get(call, call), site
                        origins.setdefault(key, inputs[atom])
            else:
                if has_marks(equation):
                    self.missed.add(equation.primitive.name)
                outputs = compat.bind(equation, operands)
                descent.follow(equation, operands, inputs)
            known.update(zip(equation.outvars, outputs, strict=True))
        outputs = [a.val if compat.is_literal(a) else known[a] for a in jaxpr.outvars]
        return outputs, harvest, descent.leave(jaxpr, origins)

    def _read(self, mark: Mark, operands: list[Any], harvest: Harvest) -> None:
        value, *riders = operands
        key, level = (mark.call, mark.site), self.level
        if mark.role == "loss":
            loss = jnp.asarray(value, jnp.float32)
            harvest.losses.setdefault(mark.call, loss)
            harvest.finite.append(jnp.isfinite(loss))
        elif mark.site.kind == "operation":
            stats = statistics.describe_operation(mark, value, *riders)
            if level.overflow and stats is not None:
                harvest.put(mark.role, key, stats)
        elif mark.role == "value":
            if level.saturation or level.overflow:
                stats = statistics.describe_value(mark, level, value, *riders)
                harvest.put("value", key, stats)
        elif mark.role == "parameter":
            if level.updates:
                stats = statistics.describe_parameter(mark, value)
                harvest.put("parameter", key, stats)
        elif mark.role in ("cotangent", "gradient"):
            stats = statistics.describe_derivative(mark, level, value)
            harvest.put(mark.role, key, stats)
            if mark.role == "gradient":
                harvest.finite.append(statistics.is_finite(stats))
                if level.updates and not mark.batched:
                    harvest.gradients[key] = value

    def read_updates(
        self,
        harvest: Harvest,
        flow: Flow,
        pairs: dict[int, int],
        before: Sequence[Any],
        after: Sequence[Any],
    ) -> None:
        """Adds the updates of the parameters that a frame takes in and hands on.

        Args:
            harvest: is added to.
            flow: what passes through the frame.
            pairs: from input to the output that replaces it in the next step.
            before: the inputs.
            after: the outputs.
        """
        if not self.level.updates:
            return
        for key, position in flow.origins.items():
            if position not in pairs or key in harvest.stats["update"]:
                continue
            output = pairs[position]
            start, step = flow.moved.get(output, (None, None))
            if step is not None and (start, step.key) == (position, key):
                gradient = harvest.stats["gradient"][key]
                stats = describe_step(step.scale, gradient.norm)
            else:
                stats = statistics.describe_update(
                    before[position], after[output], harvest.gradients.get(key)
                )
            harvest.put("update", key, stats)
            harvest.finite.append(statistics.is_finite(stats))


_Result = tuple[list[Any], Harvest, Flow]


def _enter_jit(collector: Collector, equation: Any, operands: list[Any]) -> _Result:
    body = equation.params["jaxpr"]
    flows: list[Flow] = []

    def call(*values: Any) -> Any:
        outputs, harvest, flow = collector.run(
            compat.open_jaxpr(body), compat.constants(body), values
        )
        flows[:] = [out_of_jit(flow)]
        return outputs, harvest

    call.__name__ = equation.params["name"]
    with compat.source(equation):
        outputs, harvest = jax.jit(call)(*operands)
    return outputs, harvest, flows[0]


def _enter_remat(collector: Collector, equation: Any, operands: list[Any]) -> _Result:
    body = equation.params["jaxpr"]
    origins: dict[Key, int] = {}
    structures: list[Any] = []

    def call(*values: Any) -> list[Any]:
        outputs, harvest, flow = collector.run(body, (), values)
        origins.update(flow.origins)
        # What is recomputed was read when it was first computed.
        harvest.stats["value"].clear()
        leaves, structure = jax.tree.flatten(harvest)
        structures[:] = [structure]
        return [*outputs, *leaves]

    changed = compat.retrace(body, call)
    outputs = compat.bind(equation, operands, jaxpr=changed)
    count = len(equation.outvars)
    harvest = structures[0].unflatten(outputs[count:])
    return outputs[:count], harvest, Flow.nothing()._replace(origins=origins)


def _enter_scan(collector: Collector, equation: Any, operands: list[Any]) -> _Result:
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
        harvest.gradients.clear()
        origins.update({k: i for k, i in flow.origins.items() if i < constants})
        return outputs[:carried], (outputs[carried:], harvest)

    with compat.source(equation):
        carry, (stacked, harvest) = jax.lax.scan(
            step,
            operands[constants : constants + carried],
            operands[constants + carried :],
            length=equation.params["length"],
            reverse=equation.params["reverse"],
            unroll=equation.params["unroll"],
        )
    return [*carry, *stacked], harvest, Flow.nothing()._replace(origins=origins)


def _enter_cond(collector: Collector, equation: Any, operands: list[Any]) -> _Result:
    index, *values = operands
    branches = equation.params["branches"]

    def evaluate(branch: Any) -> Callable[..., tuple[list[Any], Harvest]]:
        def call(*inputs: Any) -> tuple[list[Any], Harvest]:
            outputs, harvest, _ = collector.run(
                compat.open_jaxpr(branch), compat.constants(branch), inputs
            )
            harvest.gradients.clear()
            return outputs, harvest

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
                for number, loss in shape.losses.items():
                    harvest.losses.setdefault(number, _missing(loss))
            return outputs, harvest._replace(finite=[all_finite(harvest)])

        return run

    with compat.source(equation):
        outputs, harvest = jax.lax.switch(index, [filled(c) for c in calls], *values)
    return outputs, harvest, Flow.nothing()


def _missing(shape: Any) -> Any:
    return jnp.full(shape.shape, jnp.nan, shape.dtype)


_Rule = Callable[[Collector, Any, list[Any]], _Result]
_RULES: dict[str, _Rule] = {
    "jit": _enter_jit,
    "remat2": _enter_remat,
    "scan": _enter_scan,
    "cond": _enter_cond,
}


def _rule(equation: Any) -> _Rule | None:
    """How to enter `equation`, if marks stand in it and it can be entered."""
    rule = _RULES.get(equation.primitive.name)
    if rule is None or not has_marks(equation):
        return None
    if rule is _enter_cond and compat.debug_nans_is_on():
        return None  # the NaN of the branch not taken would stop the program
    return rule


def has_marks(equation: Any) -> bool:
    """Whether a mark stands anywhere in the bodies of `equation`."""
    return any(
        inner.primitive is mark_primitive or has_marks(inner)
        for body in compat.jaxprs_in(equation)
        for inner in body.eqns
    )
