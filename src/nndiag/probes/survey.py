"""Finds the places worth measuring in a function that is about to be differentiated.

One pass over the jaxpr of the loss, before differentiation, when scopes are the user's
own. The result is a plan: which variable of which (nested) jaxpr gets which mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from nndiag.jaxprs import compat
from nndiag.jaxprs.bodies import Path, bodies
from nndiag.jaxprs.location import Location, locate
from nndiag.probes import elementwise, loops
from nndiag.probes.curves import Activated, Curves
from nndiag.probes.facts import CONSTANT, Fact, combine, has_layers, is_layer
from nndiag.probes.loops import Surroundings
from nndiag.probes.plan import Plan, Use, Visit
from nndiag.probes.surveyed import Candidate, Place, Surveyed


def survey(jaxpr: Any, leaves: Sequence[str], call: int) -> Plan:
    """Plans the marks of a loss.

    Args:
        jaxpr: closed jaxpr of the loss as a function of its differentiated leaves.
        leaves: their names.
        call: number of the gradient call, for its marks.

    Returns:
        A plan with the inputs of the first layers, the activations of layers, and
        the logits that a softmax in the loss reads.
    """
    body = compat.open_jaxpr(jaxpr)
    pass_ = _Survey(leaves, [v.aval.shape for v in body.invars[: len(leaves)]])
    facts = [
        Fact(trained=True, weight=True, leaves=frozenset({i}))
        for i in range(len(leaves))
    ]
    pass_.walk(body, facts, Surroundings(), path=())
    return pass_.seen.plan(call)


class _Survey:
    """The state of one pass."""

    def __init__(
        self, leaves: Sequence[str], shapes: Sequence[tuple[int, ...]]
    ) -> None:
        self.leaves, self.shapes = leaves, shapes
        self.order = 0
        self.seen = Surveyed()

    def walk(
        self, jaxpr: Any, facts: list[Fact], around: Surroundings, path: Path
    ) -> list[Fact]:
        """Follows facts through one jaxpr; returns those of its outputs."""
        self.seen.around[path] = around
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
            location = locate(equation, around.scope)
            # What a scan uses is seen one by one in its body.
            if equation.primitive.name != "scan":
                self._note_uses(operands, location)
            if is_layer(equation, operands):
                self._note_layer(equation, operands, location, path)
            activated = curves.follow(equation)
            root = None if activated is None else activated.root
            self.seen.visits[*path, index] = Visit(self.order, root)
            outputs = self._through(equation, operands, known, location, (*path, index))
            if activated is not None:
                outputs = [
                    self._note_activation(
                        activated, equation, known, outputs[0], location, path
                    )
                ]
            if self._note_softmax(equation, known, maxima, location, path):
                (fact,) = outputs
                outputs = [fact._replace(reached=fact.reached | {self.order})]
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
                deeper = (*path, body.number)
                outputs = self._enter(equation, inner, facts, location, deeper)
                merged = outputs if merged is None else merged
            if merged is None and has_layers(equation):
                merged = self._pass_by(equation, operands)
        return merged or [combine(equation, operands)] * len(equation.outvars)

    def _pass_by(self, equation: Any, operands: list[Fact]) -> list[Fact] | None:
        """Facts about the outputs of what has a derivative rule of its own.

        Nothing can be marked in it; if there are activations, that is noted.
        """
        body = elementwise.body_of_call(equation)
        if body is None:
            self.seen.unseen.add(equation.primitive.name)
            return None
        seen, self.seen = self.seen, Surveyed()
        try:
            outputs = self.walk(
                compat.open_jaxpr(body), operands, Surroundings(), path=()
            )
            hides = bool(self.seen.candidates)
        finally:
            self.seen = seen
        if hides:
            self.seen.unseen.add(equation.primitive.name)
        return outputs

    def _enter(
        self,
        equation: Any,
        body: Any,
        facts: list[Fact],
        location: Location,
        path: Path,
    ) -> list[Fact]:
        """Walks a body; the order advances as if a scan's layers stood in a row."""
        outer = self.seen.around[path[:-2]]
        around = Surroundings(location.scope, outer.loops)
        if equation.primitive.name != "scan":
            return self.walk(body, facts, around, path)
        if equation.params["length"] == 0:
            return [combine(equation, facts)] * len(body.outvars)
        scanned = loops.scanned_leaves(equation, facts)
        names: list[str] = []
        others: list[str] = []
        for leaf, name in enumerate(self.leaves):
            (names if leaf in scanned else others).append(name)
        around = loops.enter(equation, names, others, around)
        loop = around.loops[-1]
        for leaf, shape in scanned.items():
            known = self.seen.layers.get(leaf, ())
            sliced = self.shapes[leaf][len(known) :] == shape
            if sliced and all(one in outer.loops for one in known):
                self.seen.layers[leaf] = (*known, loop)
        start = self.order
        constants, carried = compat.scan_split(equation)
        carry = range(constants, constants + carried)
        if loop.layers:
            # What the first layer reads comes from outside, what the others read not.
            for number in carry:
                if facts[number].fresh and not facts[number].weight:
                    self._note_input(equation.invars[number], location, path[:-2])
                    facts[number] = facts[number]._replace(fresh=False)
        outputs = self.walk(body, facts, around, path)
        for fact in outputs[:carried]:
            self.seen.feeding |= fact.reached  # the next iteration reads it
        loop.span = self.order - start
        if loop.layers:
            self.order += loop.span * (loop.length - 1)
        return outputs

    def _note_uses(self, operands: list[Fact], location: Location) -> None:
        if all(fact.weight for fact in operands):
            return
        for fact in operands:
            for leaf in fact.leaves:
                self.seen.uses.setdefault(leaf, Use(self.order, location))

    def _note_layer(
        self, equation: Any, operands: list[Fact], location: Location, path: Path
    ) -> None:
        for atom, fact in zip(equation.invars, operands, strict=True):
            if fact.weight:
                continue
            self.seen.feeding |= fact.reached
            if fact.fresh:
                self._note_input(atom, location, path)

    def _note_input(self, atom: Any, location: Location, path: Path) -> None:
        if not compat.is_literal(atom) and _is_float(atom) and atom.aval.size:
            self.seen.note_input(Place(path, atom, self.order, location))

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
        self.seen.candidates = [
            c
            for c in self.seen.candidates
            if not (c.path == path and c.variable in activated.inner)
        ]
        self.seen.candidates.append(
            Candidate(
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
    ) -> bool:
        """Remembers the last `x` of an `exp(x - max x)` that the gradient reaches."""
        name = equation.primitive.name
        atoms = [a for a in equation.invars if not compat.is_literal(a)]
        derived = [a for a in atoms if a in maxima]
        if name == "reduce_max" or (derived and name not in {"sub", "exp"}):
            maxima.update(equation.outvars)
        if name != "sub" or len(atoms) != 2 or derived != atoms[1:]:
            return False
        logits = atoms[0]
        if len(logits.aval.shape) < 1 or not known[logits].trained:
            return False
        self.seen.softmax = Place(path, logits, self.order, location)
        return True


def _is_float(atom: Any) -> bool:
    return jnp.issubdtype(atom.aval.dtype, jnp.floating)


def _is_elementwise_call(equation: Any) -> bool:
    """Whether a call computes element by element, and so is seen as one function."""
    if elementwise.body_of_call(equation) is None:
        return False
    curves = [elementwise.GRID] * len(equation.invars)
    return elementwise.evaluate(equation, curves) is not None
