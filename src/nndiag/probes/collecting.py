"""Rewrites a marked program to return, beside its outputs, what its marks point at.

Each mark is replaced by its operand and by statistics of it. A primitive whose bodies
cannot be entered is evaluated whole; the marks in it are lost, which is noted.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from nndiag.jaxprs import compat
from nndiag.jaxprs.marks import Mark, has_marks, mark_primitive
from nndiag.probes import statistics
from nndiag.probes.descent import Descent, Flow, Scaled, describe_step
from nndiag.probes.entering import Result, rule_for
from nndiag.probes.examples import of_gradient, parts_of
from nndiag.probes.harvest import Harvest, Key
from nndiag.probes.histograms import log2_histogram
from nndiag.probes.later import finish
from nndiag.probes.level import Level
from nndiag.probes.replication import Replication, survey_replication
from nndiag.probes.selection import Selection
from nndiag.probes.sharding import Claim, Shards, with_spread
from nndiag.probes.structures.measuring import describe_structure
from nndiag.records import Site


class Collector:
    """Evaluates marked jaxprs under one level.

    Attributes:
        level: what to measure.
        selection: the places that are measured.
        missed: names of the primitives whose marks were lost.
        members: parameters that `jax.vmap` maps over, as those of an ensemble.
        fused: parameters whose gradients are made within their updates.
        recomputes: whether what is evaluated was evaluated, and read, before.
        shards: the `shard_map` whose body is evaluated, if one is.
        claims: the parameters that should be alike on all devices (see
            `nndiag.probes.sharding`).
    """

    def __init__(self, level: Level, program: Any) -> None:
        self.level, self._program = level, program
        self.selection = Selection(level.include, level.exclude)
        self.missed: set[str] = set()
        self.members: set[Key] = set()
        self.fused: set[Site] = set()
        self.recomputes = False
        self.shards: Shards | None = None
        self.claims: dict[Key, Claim] = {}

    @functools.cached_property
    def replication(self) -> Replication:
        """How the marked values differ between devices."""
        return survey_replication(self._program)

    def run(
        self, jaxpr: Any, constants: Sequence[Any], values: Sequence[Any]
    ) -> Result:
        """Evaluates `jaxpr`.

        Returns:
            Its outputs; the harvest; and what passes from its inputs to its outputs.
        """
        known: dict[Any, Any] = {}
        harvest = Harvest.empty()
        origins: dict[Key, int] = {}
        descent = Descent(jaxpr)
        makers: dict[Any, Any] = {}
        inputs = {variable: i for i, variable in enumerate(jaxpr.invars)}
        known.update(zip(jaxpr.constvars, constants, strict=True))
        known.update(zip(jaxpr.invars, values, strict=True))
        for equation in jaxpr.eqns:
            operands = [
                a.val if compat.is_literal(a) else known[a] for a in equation.invars
            ]
            rule = rule_for(equation)
            if equation.primitive is mark_primitive:
                mark = equation.params["mark"]
                if compat.is_split(operands):
                    self._read_split(mark, operands, harvest)
                else:
                    self._read(mark, operands, harvest)
                outputs = operands[:1]
                (atom, *_), (output,) = equation.invars, equation.outvars
                if not compat.is_literal(atom) and atom in inputs:
                    # A marked input stays that input, for a second gradient call.
                    inputs[output] = inputs[atom]
                    if mark.role == "parameter":
                        key = mark.call, mark.site
                        if mark.batched:
                            self.members.add(key)
                        # The axes of members and of layers could not be told apart.
                        if not (mark.batched and mark.site.axes):
                            origins.setdefault(key, inputs[atom])
                if mark.role == "gradient" and not mark.batched:
                    key = mark.call, mark.site
                    descent.scaled[output] = Scaled(key, 1.0)
                    if _is_fused(atom, makers):
                        self.fused.add(mark.site)
                    elif _is_product(atom, makers) and output in descent.only_scaled:
                        outputs = [harvest.read_first(key, *outputs)]
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
                if self.shards is not None:
                    self.shards.unstack(jaxpr, equation, inputs)
                    self.shards.follow(equation, outputs, descent, harvest)
            known.update(zip(equation.outvars, outputs, strict=True))
            makers.update(dict.fromkeys(equation.outvars, equation))
        outputs = [a.val if compat.is_literal(a) else known[a] for a in jaxpr.outvars]
        return outputs, harvest, descent.leave(jaxpr, origins)

    def _read(self, mark: Mark, operands: list[Any], harvest: Harvest) -> None:
        value, *riders = operands
        key, level = (mark.call, mark.site), self.level
        if mark.role == "loss":
            loss = jnp.asarray(value, jnp.float32)
            harvest.losses.setdefault(mark.call, loss)
            harvest.finite.append(jnp.isfinite(loss))
        elif mark.role == "part":
            if not mark.batched:
                use: Any = mark.detail
                harvest.examples[mark.call, use] = parts_of(use, value, *riders)
        elif not self.selection.holds(mark.site) or (
            mark.role == "value" and self.recomputes
        ):
            return
        elif mark.site.kind == "operation":
            stats = statistics.describe_operation(mark, value, *riders)
            if level.overflow and stats is not None:
                self._put(harvest, mark.role, key, stats)
        elif mark.site.kind in ("attention", "dropout", "residual"):
            if level.saturation:
                stats = describe_structure(mark, value, *riders)
                self._put(harvest, mark.role, key, stats)
        elif mark.role == "value":
            if level.saturation or level.overflow:
                apart = self.shards is not None
                stats = statistics.describe_value(
                    mark, level, value, *riders, apart=apart
                )
                self._put(harvest, "value", key, stats)
        elif mark.role == "parameter":
            if level.updates:
                stats = statistics.describe_parameter(mark, value)
                self._put(harvest, "parameter", key, stats)
        elif mark.role in ("cotangent", "gradient"):
            stats = statistics.describe_derivative(mark, level, value)
            self._put(harvest, mark.role, key, stats)
            if mark.role == "gradient":
                each = len(mark.batched) == 1 and key not in self.members
                if level.examples and each:
                    use, parts = of_gradient(mark, value, len(harvest.examples))
                    harvest.examples[mark.call, use] = parts
                if self.shards is not None:
                    self.shards.meet(key, mark)
                if (level.updates or self.shards is not None) and not mark.batched:
                    harvest.gradients[key] = value
                else:
                    harvest.finite.append(statistics.is_finite(stats))

    def _put(self, harvest: Harvest, role: str, key: Key, stats: Any) -> None:
        """Adds a reading; of a shard, one that is finished."""
        harvest.put(role, key, stats if self.shards is None else finish(stats))

    def _read_split(self, mark: Mark, operands: list[Any], harvest: Harvest) -> None:
        """Reads arrays whose type says how they are split; what is read is whole."""

        def read(*values: Any) -> Harvest:
            own = Harvest.empty()
            self._read(mark, list(values), own)
            own.let_go()
            return finish(own)

        harvest.take(compat.gathered(read, operands))
        if mark.role == "gradient" and not mark.batched and self.level.updates:
            harvest.gradients[mark.call, mark.site] = operands[0]

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
            if not self.selection.holds(key[1]):
                continue
            output, claim = pairs[position], self.claims.get(key)
            stacked = claim is not None and claim.stacked
            start, step = flow.moved.get(output, (None, None))
            if step is not None and (start, step.key) == (position, key):
                gradient = harvest.stats["gradient"][key]
                stats = describe_step(step.scale, gradient.norm)
            else:
                gradient = harvest.gradients.get(key)
                stats, norms = statistics.describe_update(
                    before[position],
                    after[output],
                    None if key[1] in self.fused else gradient,
                    layers=len(key[1].axes) + stacked,
                )
                harvest.refine(key, norms)
            if self.level.histograms:
                change = statistics.difference(before[position], after[output])
                counts = log2_histogram(change, len(key[1].axes))
                stats = stats._replace(histogram=counts)
            if claim is not None:
                stats = with_spread(
                    finish(stats), claim, before[position], after[output]
                )
            harvest.put("update", key, stats)
            harvest.finite.append(statistics.is_finite(stats))


def _is_fused(atom: Any, makers: dict[Any, Any]) -> bool:
    """Whether XLA makes a gradient within the update that it goes into.

    So it does with that of a matrix of one column, and with a sum of padded pieces, as
    by `w[0]`, `w[1]`, …. To multiply it by the update, too, it would be made apart, and
    the update rounded in another way.
    """
    return 1 in atom.aval.shape or _is_pieced(atom, makers)


def _is_product(atom: Any, makers: dict[Any, Any]) -> bool:
    """Whether a gradient is made by a kernel that makes nothing else."""
    maker = None if compat.is_literal(atom) else makers.get(atom)
    if maker is None:
        return False
    if maker.primitive.name == "transpose":
        return _is_product(maker.invars[0], makers)
    return maker.primitive.name in ("dot_general", "conv_general_dilated")


def _is_pieced(atom: Any, makers: dict[Any, Any]) -> bool:
    maker = None if compat.is_literal(atom) else makers.get(atom)
    if maker is None or maker.primitive.name not in ("add_any", "pad"):
        return False
    pieces = maker.invars if maker.primitive.name == "add_any" else ()
    return not pieces or any(_is_pieced(piece, makers) for piece in pieces)
