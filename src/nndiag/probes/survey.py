"""Finds the places worth measuring in a function that is about to be differentiated.

One pass over the jaxpr of the loss, before differentiation, when scopes are the user's
own. The result is a plan: which variable of which (nested) jaxpr gets which mark.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import jax.numpy as jnp

from nndiag.jaxprs import compat
from nndiag.jaxprs.bodies import Path, bodies
from nndiag.jaxprs.location import Location, join, locate
from nndiag.jaxprs.marks import Mark
from nndiag.probes import elementwise
from nndiag.probes.curves import Activated, Curves
from nndiag.probes.facts import CONSTANT, Fact, combine, has_layers, is_layer
from nndiag.probes.plan import Plan, Planned, Use, Visit
from nndiag.records import Site


class _Candidate(NamedTuple):
    path: Path
    variable: Any
    activated: Activated
    order: int
    location: Location
    fact: Fact
    from_layer: bool


class _Place(NamedTuple):
    path: Path
    variable: Any
    order: int
    location: Location


# A softplus right after the last layer is a loss (−log σ), not a layer.
_NO_OUTPUT = {"softplus"}


def survey(jaxpr: Any, leaves: int, call: int) -> Plan:
    """Plans the marks of a loss.

    Args:
        jaxpr: closed jaxpr of the loss as a function of its differentiated leaves.
        leaves: their number.
        call: number of the gradient call, for its marks.

    Returns:
        A plan with the inputs of the first layers, the activations of layers, and
        the logits that a softmax in the loss reads.
    """
    body = compat.open_jaxpr(jaxpr)
    pass_ = _Survey()
    facts = [
        Fact(trained=True, weight=True, leaves=frozenset({i})) for i in range(leaves)
    ]
    pass_.walk(body, facts, scope="", path=())
    return pass_.plan(call)


class _Survey:
    """The state of one pass."""

    def __init__(self) -> None:
        self.order = 0
        self.candidates: list[_Candidate] = []
        self.feeding: set[int] = set()
        self.uses: dict[int, Use] = {}
        self.visits: dict[Path, Visit] = {}
        self.inputs: list[_Place] = []
        self.softmax: _Place | None = None
        self.unseen: set[str] = set()

    def walk(self, jaxpr: Any, facts: list[Fact], scope: str, path: Path) -> list[Fact]:
        """Follows facts through one jaxpr; returns those of its outputs."""
        known: dict[Any, Fact] = dict(zip(jaxpr.invars, facts, strict=True))
        for variable in jaxpr.constvars:
            # A table of numbers is a constant; an array from outside is data.
            known[variable] = Fact() if variable.aval.shape else CONSTANT
        curves = Curves()
        maxima: set[Any] = set()
        for index, equation in enumerate(jaxpr.eqns):
            self.order += 1
            operands = [
                CONSTANT if compat.is_literal(a) else known[a] for a in equation.invars
            ]
            location = locate(equation, scope)
            self._note_uses(operands, location)
            if is_layer(equation, operands):
                self._note_layer(equation, operands, location, path)
            activated = curves.follow(equation)
            root = None if activated is None else activated.root
            self.visits[*path, index] = Visit(self.order, root)
            outputs = self._through(equation, operands, known, location, (*path, index))
            if activated is not None:
                outputs = [
                    self._note_activation(
                        activated, equation, known, outputs[0], location, path
                    )
                ]
            self._note_softmax(equation, known, maxima, location, path)
            known.update(zip(equation.outvars, outputs, strict=True))
        return [CONSTANT if compat.is_literal(a) else known[a] for a in jaxpr.outvars]

    def _through(
        self,
        equation: Any,
        operands: list[Fact],
        known: dict[Any, Fact],
        location: Location,
        path: Path,
    ) -> list[Fact]:
        """Facts about the outputs; enters bodies that are more than elementwise."""
        merged: list[Fact] | None = None
        if not _is_elementwise_call(equation):
            for body in bodies(equation):
                inner = compat.open_jaxpr(body.jaxpr)
                facts = operands[len(operands) - len(inner.invars) :]
                outputs = self.walk(inner, facts, location.scope, (*path, body.number))
                merged = outputs if merged is None else merged
            if merged is None and has_layers(equation):
                self.unseen.add(equation.primitive.name)
        return merged or [combine(equation, operands)] * len(equation.outvars)

    def _note_uses(self, operands: list[Fact], location: Location) -> None:
        if all(fact.weight for fact in operands):
            return
        for fact in operands:
            for leaf in fact.leaves:
                self.uses.setdefault(leaf, Use(self.order, location))

    def _note_layer(
        self, equation: Any, operands: list[Fact], location: Location, path: Path
    ) -> None:
        for atom, fact in zip(equation.invars, operands, strict=True):
            if fact.weight:
                continue
            self.feeding |= fact.reached
            known = {(i.path, i.variable) for i in self.inputs}
            if (
                fact.fresh
                and _is_float(atom)
                and (path, atom) not in known
                and atom.aval.size
            ):
                self.inputs.append(_Place(path, atom, self.order, location))

    def _note_activation(
        self,
        activated: Activated,
        equation: Any,
        known: dict[Any, Fact],
        fact: Fact,
        location: Location,
        path: Path,
    ) -> Fact:
        """Keeps a candidate; returns the fact about its output."""
        variable = equation.outvars[0]
        root = known[activated.root]
        if fact.weight or root.reduced or not _is_float(variable):
            return fact
        if variable.aval.size < 2:
            return fact
        self.candidates = [
            c
            for c in self.candidates
            if not (c.path == path and c.variable in activated.inner)
        ]
        self.candidates.append(
            _Candidate(
                path, variable, activated, self.order, location, fact, root.affine
            )
        )
        return fact._replace(
            affine=False, reached=root.reached | {self.order}, unit_axis=root.unit_axis
        )

    def _note_softmax(
        self,
        equation: Any,
        known: dict[Any, Fact],
        maxima: set[Any],
        location: Location,
        path: Path,
    ) -> None:
        """Remembers the last `x` of an `exp(x - max x)` that the gradient reaches."""
        name = equation.primitive.name
        atoms = [a for a in equation.invars if not compat.is_literal(a)]
        derived = [a for a in atoms if a in maxima]
        if name == "reduce_max" or (derived and name not in {"sub", "exp"}):
            maxima.update(equation.outvars)
        if name != "sub" or len(atoms) != 2 or derived != atoms[1:]:
            return
        logits = atoms[0]
        if len(logits.aval.shape) >= 1 and known[logits].trained:
            self.softmax = _Place(path, logits, self.order, location)

    def plan(self, call: int) -> Plan:
        """The marks that the whole pass justifies."""
        plan = Plan(uses=self.uses, visits=self.visits, unseen=self.unseen)
        used: Counter[str] = Counter()
        for place in self.inputs:
            site = _site(_numbered("input", used), "input", place)
            _add(plan, place.path, place.variable, Planned(Mark("value", site, call)))
        for candidate in self.candidates:
            function = candidate.activated.function
            closes = candidate.from_layer and function not in _NO_OUTPUT
            if candidate.order not in self.feeding and not closes:
                continue
            key = _numbered(join(candidate.location.scope, function), used)
            site = _site(key, "activation", candidate, function)
            mark = Mark("value", site, call, candidate.fact.unit_axis)
            _add(
                plan,
                candidate.path,
                candidate.variable,
                Planned(mark, (candidate.activated.root,)),
            )
        if self.softmax is not None:
            site = _site(_numbered("logits", used), "logits", self.softmax)
            planned = Planned(Mark("value", site, call))
            _add(plan, self.softmax.path, self.softmax.variable, planned)
        return plan


def _add(plan: Plan, path: Path, variable: Any, planned: Planned) -> None:
    plan.marks.setdefault(path, {}).setdefault(variable, planned)


def _site(key: str, kind: Any, place: Any, function: str = "") -> Site:
    return Site(
        key,
        kind=kind,
        scope=place.location.scope,
        function=function,
        order=place.order,
        dtype=str(place.variable.aval.dtype),
        shape=tuple(place.variable.aval.shape),
        file=place.location.file,
        line=place.location.line,
    )


def _numbered(key: str, used: Counter[str]) -> str:
    used[key] += 1
    return key if used[key] == 1 else f"{key}#{used[key]}"


def _is_float(atom: Any) -> bool:
    return jnp.issubdtype(atom.aval.dtype, jnp.floating)


def _is_elementwise_call(equation: Any) -> bool:
    """Whether a call computes element by element, and so is seen as one function."""
    if elementwise.body_of_call(equation) is None:
        return False
    curves = [elementwise.GRID] * len(equation.invars)
    return elementwise.evaluate(equation, curves) is not None
