"""Plans the marks of the structures of a network: attention, normalisation and others.

Structures are recognised by what the program computes, never by names.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from nndiag.jaxprs.bodies import Path
from nndiag.jaxprs.location import join
from nndiag.jaxprs.marks import Mark
from nndiag.probes.plan import Plan, Planned, Sentinel
from nndiag.probes.structures import (
    attention,
    dropout,
    embedding,
    normalisation,
    residual,
)
from nndiag.probes.structures.attention import Attention
from nndiag.probes.structures.graph import Value, draw
from nndiag.probes.structures.measuring import Layout
from nndiag.records import INDEX, Axis, Site, SiteKind


def watch_structures(jaxpr: Any, leaves: int, call: int, plan: Plan) -> None:
    """Adds to `plan` a mark for each structure that is recognised.

    Args:
        jaxpr: closed jaxpr of the loss as a function of its differentiated leaves.
        leaves: their number.
        call: number of the gradient call, for its marks.
        plan: of the survey of the same jaxpr.
    """
    values = draw(jaxpr, leaves, plan)
    placing = _Placing(call, plan)
    plan.tables |= set(embedding.find(values))
    for found in attention.find(values):
        placing.attend(found)
    for norm in normalisation.find(values):
        path = _common(norm.result, norm.source)
        if path is not None:
            site = placing.site("normalisation", norm.function, norm.result, path)
            placing.mark(norm.source, site, path)
    for drop in dropout.find(values):
        path = _common(drop.result, drop.mask)
        if path is not None:
            site = placing.site("dropout", "dropout", drop.result, path)
            placing.mark(drop.mask, site, path, detail=drop.kept)
    for branch in residual.find(values):
        placing.branch(branch.total, branch.stream)


class _Placing:
    """The state of one pass."""

    def __init__(self, call: int, plan: Plan) -> None:
        self.call, self.plan = call, plan
        self.used: Counter[str] = Counter()

    def attend(self, found: Attention) -> None:
        """Marks the weights of an attention; its logits ride along."""
        (weights, logits, keys), heads = found
        path = next((p for p in weights.variables if p in logits.variables), None)
        if path is None:
            return
        site = self.site("attention", "softmax", weights, path)
        shape, rank = weights.shape, len(weights.shape)
        if heads:
            many = Axis(math.prod(shape[axis] for axis in heads))
            site = Site(f"{site}/head{INDEX}", **vars(site))
            site.axes = (*site.axes, many)
        layout = Layout(keys - rank, tuple(axis - rank for axis in heads))
        self._no_output(logits)
        self.mark(weights, site, path, logits.variables[path], detail=layout)

    def _no_output(self, logits: Value) -> None:
        """The last softmax of a loss may be that of an attention: no output then."""
        for path, variable in logits.variables.items():
            marks = self.plan.at(path)
            kept = [p for p in marks.get(variable, []) if p.mark.site.kind != "logits"]
            marks.pop(variable, None)
            if kept:
                marks[variable] = kept

    def branch(self, total: Value, stream: int) -> None:
        """Marks the branch that a sum adds to its stream."""
        path = total.path[:-1]
        sentinels = self.plan.sentinels.setdefault(path, {})
        if total.variables.get(path) in total.equation.outvars:
            site = self.site("residual", "", total, path)
            mark = Mark("value", site, self.call)
            sentinels.setdefault(total.path[-1], Sentinel(mark, 1 - stream, (stream,)))

    def site(self, kind: SiteKind, function: str, value: Value, path: Path) -> Site:
        """The place of a structure that ends in `value`, read in the body at `path`."""
        location = value.location
        key = join(location.scope, kind)
        self.used[key] += 1
        return Site(
            key if self.used[key] == 1 else f"{key}#{self.used[key]}",
            kind=kind,
            scope=location.scope,
            function=function,
            order=self.plan.order(value.path),
            dtype=str(value.aval.dtype),
            shape=value.shape,
            file=location.file,
            line=location.line,
            axes=self.plan.axes((*path, 0)),
        )

    def mark(
        self, value: Value, site: Site, path: Path, *riders: Any, detail: Any = None
    ) -> None:
        """Plans a mark on `value` in the body at `path`."""
        mark = Mark("value", site, self.call, detail=detail)
        marks = self.plan.marks.setdefault(path, {})
        marks.setdefault(value.variables[path], []).append(Planned(mark, riders))


def _common(result: Value, source: Value) -> Path | None:
    """A body in which `source` can be marked: that of `result`, if it is there."""
    own = result.path[:-1]
    return own if own in source.variables else next(iter(source.variables), None)
