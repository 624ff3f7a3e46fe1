"""Rewrites a marked program to return, beside its outputs, what its marks point at.

Each mark is replaced by its operand and by statistics of it. Statistics leave a scan
stacked along a new leading axis, and a `cond` as NaN from the branch not taken. A
primitive whose bodies cannot be rewritten is evaluated whole; the marks in it are lost,
which is noted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nndiag.jaxprs import compat
from nndiag.jaxprs.marks import Mark, mark_primitive
from nndiag.probes import statistics
from nndiag.probes.level import Level
from nndiag.records import Site, TensorStats


class Harvest(NamedTuple):
    """What was read off the marks so far; a pytree.

    Attributes:
        stats: role to site to statistics.
        losses: the differentiated scalars, in order.
        gradients: the gradient arrays themselves, as long as an update may need them.
    """

    stats: dict[str, dict[Site, TensorStats]]
    losses: list[Any]
    gradients: dict[Site, Any]

    @staticmethod
    def empty() -> Harvest:
        """Nothing yet."""
        roles = ("value", "cotangent", "parameter", "gradient", "update")
        return Harvest({role: {} for role in roles}, [], {})

    def add(self, other: Harvest) -> None:
        """Takes in what was read inside a body."""
        for role, sites in other.stats.items():
            for site, stats in sites.items():
                self.put(role, site, stats)
        self.losses.extend(other.losses)
        self.gradients.update(other.gradients)

    def put(self, role: str, site: Site, stats: TensorStats) -> Site:
        """Adds one reading; a second one of the same name gets a number."""
        sites = self.stats[role]
        sites[_free(site, sites)] = stats
        return site


class Collector:
    """Evaluates marked jaxprs under one level.

    Attributes:
        level: what to measure.
        missed: names of the primitives whose marks were lost.
        origins: for each parameter site seen, the input of the current frame that it
            is, where it is one unchanged.
    """

    def __init__(self, level: Level) -> None:
        self.level = level
        self.missed: set[str] = set()

    def run(
        self, jaxpr: Any, constants: Sequence[Any], values: Sequence[Any]
    ) -> tuple[list[Any], Harvest, dict[Site, int]]:
        """Evaluates `jaxpr`.

        Returns:
            Its outputs; the harvest; and for each parameter that is an input of this
            jaxpr, unchanged, which input it is.
        """
        known: dict[Any, Any] = {}
        harvest = Harvest.empty()
        origins: dict[Site, int] = {}
        inputs = {variable: i for i, variable in enumerate(jaxpr.invars)}
        known.update(zip(jaxpr.constvars, constants, strict=True))
        known.update(zip(jaxpr.invars, values, strict=True))
        for equation in jaxpr.eqns:
            operands = [
                a.val if compat.is_literal(a) else known[a] for a in equation.invars
            ]
            rule = _RULES.get(equation.primitive.name)
            if equation.primitive is mark_primitive:
                mark = equation.params["mark"]
                self._read(mark, operands, harvest)
                outputs = operands[:1]
                if equation.invars[0] in inputs:
                    # A marked input stays that input, for a second gradient call.
                    inputs[equation.outvars[0]] = inputs[equation.invars[0]]
                    if mark.role == "parameter":
                        origins.setdefault(mark.site, inputs[equation.invars[0]])
            elif _has_marks(equation) and rule is not None:
                outputs, inner, found = rule(self, equation, operands)
                harvest.add(inner)
                for site, position in found.items():
                    atom = equation.invars[position]
                    if not compat.is_literal(atom) and atom in inputs:
                        origins.setdefault(site, inputs[atom])
            else:
                if _has_marks(equation):
                    self.missed.add(equation.primitive.name)
                outputs = compat.bind(equation, operands)
            known.update(zip(equation.outvars, outputs, strict=True))
        outputs = [a.val if compat.is_literal(a) else known[a] for a in jaxpr.outvars]
        return outputs, harvest, origins

    def _read(self, mark: Mark, operands: list[Any], harvest: Harvest) -> None:
        value, *riders = operands
        site, level = mark.site, self.level
        if mark.role == "loss":
            harvest.losses.append(jnp.asarray(value, jnp.float32))
        elif mark.role == "value":
            if level.saturation or level.overflow:
                stats = statistics.describe_value(mark, level, value, *riders)
                harvest.put("value", site, stats)
        elif mark.role == "parameter":
            if level.updates:
                stats = statistics.describe_parameter(mark, value)
                harvest.put("parameter", site, stats)
        elif mark.role in ("cotangent", "gradient"):
            stats = statistics.describe_derivative(mark, level, value)
            harvest.put(mark.role, site, stats)
            if mark.role == "gradient" and level.updates and not mark.batched:
                harvest.gradients[site] = value

    def read_updates(
        self,
        harvest: Harvest,
        origins: dict[Site, int],
        pairs: dict[int, int],
        before: Sequence[Any],
        after: Sequence[Any],
    ) -> None:
        """Adds the updates of the parameters that a frame takes in and hands on.

        Args:
            harvest: is added to.
            origins: from parameter to input.
            pairs: from input to the output that replaces it in the next step.
            before: the inputs.
            after: the outputs.
        """
        if not self.level.updates:
            return
        for site, position in origins.items():
            if position not in pairs or site in harvest.stats["update"]:
                continue
            gradient = harvest.gradients.get(site)
            stats = statistics.describe_update(
                before[position], after[pairs[position]], gradient
            )
            harvest.stats["update"][site] = stats


_Result = tuple[list[Any], Harvest, dict[Site, int]]


def _enter_jit(collector: Collector, equation: Any, operands: list[Any]) -> _Result:
    body = equation.params["jaxpr"]
    origins: dict[Site, int] = {}

    def call(*values: Any) -> Any:
        outputs, harvest, found = collector.run(
            compat.open_jaxpr(body), compat.constants(body), values
        )
        origins.update(found)
        return outputs, harvest

    call.__name__ = equation.params["name"]
    with compat.source(equation):
        outputs, harvest = jax.jit(call)(*operands)
    return outputs, harvest, origins


def _enter_remat(collector: Collector, equation: Any, operands: list[Any]) -> _Result:
    body = equation.params["jaxpr"]
    origins: dict[Site, int] = {}
    shapes: list[Any] = []

    def call(*values: Any) -> list[Any]:
        outputs, harvest, found = collector.run(body, (), values)
        origins.update(found)
        # What is recomputed was read when it was first computed.
        harvest.stats["value"].clear()
        leaves, structure = jax.tree.flatten(harvest)
        shapes[:] = [structure]
        return [*outputs, *leaves]

    changed = compat.retrace(body, call)
    outputs = compat.bind(equation, operands, jaxpr=changed)
    count = len(equation.outvars)
    return outputs[:count], shapes[0].unflatten(outputs[count:]), origins


def _enter_scan(collector: Collector, equation: Any, operands: list[Any]) -> _Result:
    body = equation.params["jaxpr"]
    constants, carried = compat.scan_split(equation)
    fixed = operands[:constants]
    origins: dict[Site, int] = {}

    def step(carry: list[Any], x: list[Any]) -> tuple[list[Any], Any]:
        values = [*fixed, *carry, *x]
        outputs, harvest, found = collector.run(
            compat.open_jaxpr(body), compat.constants(body), values
        )
        # Within the loop the carry is the state: input constants + i is output i.
        pairs = {constants + i: i for i in range(carried)}
        collector.read_updates(harvest, found, pairs, values, outputs)
        harvest.gradients.clear()
        origins.update({s: i for s, i in found.items() if i < constants})
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
    return [*carry, *stacked], harvest, origins


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
                for role, sites in shape.stats.items():
                    for site, stats in sites.items():
                        if site not in harvest.stats[role]:
                            harvest.stats[role][site] = jax.tree.map(_missing, stats)
            return outputs, harvest._replace(losses=[])

        return run

    with compat.source(equation):
        outputs, harvest = jax.lax.switch(index, [filled(c) for c in calls], *values)
    return outputs, harvest, {}


def _missing(shape: Any) -> Any:
    return jnp.full(shape.shape, jnp.nan, shape.dtype)


_RULES: dict[str, Callable[[Collector, Any, list[Any]], _Result]] = {
    "jit": _enter_jit,
    "remat2": _enter_remat,
    "checkpoint": _enter_remat,
    "scan": _enter_scan,
    "cond": _enter_cond,
}


def _has_marks(equation: Any) -> bool:
    """Whether a mark stands anywhere in the bodies of `equation`."""
    for value in equation.params.values():
        for held in value if isinstance(value, tuple | list) else (value,):
            if compat.is_jaxpr(held) and any(
                inner.primitive is mark_primitive or _has_marks(inner)
                for inner in compat.open_jaxpr(held).eqns
            ):
                return True
    return False


def _free(site: Site, taken: dict[Site, Any]) -> Site:
    key, number = str(site), 1
    while key in taken:
        number += 1
        key = f"{site}#{number}"
    return site if number == 1 else Site(key, **vars(site))
