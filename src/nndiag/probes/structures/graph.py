"""A loss as one graph of values, its calls looked through.

A softmax may stand in a function of its own, its mask in another, and the products on
either side in a third: what a structure is only shows when all are seen as one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp

from nndiag.jaxprs import compat
from nndiag.jaxprs.bodies import Path, bodies
from nndiag.jaxprs.location import Location, locate
from nndiag.probes import elementwise
from nndiag.probes.facts import CONSTANT, Fact, combine
from nndiag.probes.plan import Plan

_RANDOM = {"random_bits", "threefry2x32", "rng_bit_generator", "rng_uniform"}
_INLINED = {"jit", "remat2"}
"""Calls that can be entered and whose body runs once, with their operands."""

_NOWHERE = Location("", "", 0)


@dataclass(eq=False, slots=True)
class Value:
    """A value of the loss.

    Attributes:
        name: the primitive that makes it; ``"literal"``, or ``""`` for what comes from
            outside or from an earlier iteration.
        operands: what it is made from.
        equation: the equation that makes it, `None` if none does.
        aval: its shape and dtype.
        fact: what the survey's rules say of it.
        number: its position among all values; what it is made from has smaller ones.
        random: whether it is made of random bits and constants only.
        leaf: number of the differentiated leaf that it is, −1 if it is none.
        path: path and number of the equation, or of the call it stands in, that a mark
            can be placed at.
        around: location of the call that the equation stands in.
        variables: its name in each body that a mark can be placed in.
    """

    name: str
    aval: Any
    fact: Fact
    number: int
    operands: tuple[Value, ...] = ()
    equation: Any = None
    random: bool = False
    leaf: int = -1
    path: Path = ()
    around: Location = _NOWHERE
    variables: dict[Path, Any] = field(default_factory=dict[Path, Any])

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return tuple(getattr(self.aval, "shape", ()))

    @property
    def is_signal(self) -> bool:
        """Whether it carries data through the network: floating-point, no weight."""
        return not self.fact.weight and jnp.issubdtype(self.aval.dtype, jnp.floating)

    @property
    def is_constant(self) -> bool:
        """Whether neither data nor a trained parameter is in it."""
        return self.fact.weight and not self.fact.trained

    @property
    def location(self) -> Location:
        """Where the equation stands in the user's source."""
        found = locate(self.equation, self.around.scope)
        return found if found.file else self.around._replace(scope=found.scope)


def draw(jaxpr: Any, leaves: int, plan: Plan) -> list[Value]:
    """The values of a loss, each after what it is made from.

    Args:
        jaxpr: closed jaxpr of the loss as a function of its differentiated leaves.
        leaves: their number.
        plan: of the survey of the same jaxpr.
    """
    body = compat.open_jaxpr(jaxpr)
    graph = _Graph(plan)
    inputs = [
        graph.value("", v.aval, Fact(i < leaves, i < leaves)) for i, v in
        enumerate(body.invars)
    ]  # fmt: skip
    for number, leaf in enumerate(inputs[:leaves]):
        leaf.leaf = number
    graph.walk(body, inputs, _NOWHERE, (), ())
    return graph.values


class _Graph:
    """The state of one pass."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.values: list[Value] = []

    def value(self, name: str, aval: Any, fact: Fact, **known: Any) -> Value:
        """A new value."""
        made = Value(name, aval, fact, len(self.values), **known)
        self.values.append(made)
        return made

    def walk(
        self,
        jaxpr: Any,
        inputs: Sequence[Value],
        around: Location,
        path: Path | None,
        outer: Path,
    ) -> list[Value]:
        """Adds the values of one jaxpr; returns its outputs.

        Args:
            jaxpr: open.
            inputs: of it.
            around: the location of the equation that holds it.
            path: of it; `None` if no mark can be placed in it.
            outer: of the innermost equation around it that a mark can be placed at.
        """
        known: dict[Any, Value] = dict(zip(jaxpr.invars, inputs, strict=True))
        for variable in jaxpr.constvars:
            fact = Fact() if variable.aval.shape else CONSTANT
            known[variable] = self.value("", variable.aval, fact)
        if path is not None:
            for variable, value in known.items():
                value.variables[path] = variable

        def read(atom: Any) -> Value:
            if compat.is_literal(atom):
                return self.value("literal", atom.aval, CONSTANT, equation=atom)
            return known[atom]

        for index, equation in enumerate(jaxpr.eqns):
            place = outer if path is None else (*path, index)
            operands = tuple(map(read, equation.invars))
            outputs = self._outputs(equation, operands, around, path, place)
            known.update(zip(equation.outvars, outputs, strict=True))
            if path is not None:
                for variable, value in zip(equation.outvars, outputs, strict=True):
                    value.variables.setdefault(path, variable)
        return list(map(read, jaxpr.outvars))

    def _outputs(
        self,
        equation: Any,
        operands: tuple[Value, ...],
        around: Location,
        path: Path | None,
        place: Path,
    ) -> list[Value]:
        entered = list(bodies(equation)) if path is not None else []
        plain = elementwise.body_of_call(equation)
        if equation.primitive.name == "remat2":
            plain = equation.params["jaxpr"]
        results: list[Value] | None = None
        location = around
        if entered or plain is not None:
            location = locate(equation, around.scope)
            if not location.file:
                location = around._replace(scope=location.scope)
        for body in entered:
            deeper = (*place, body.number)
            inner = compat.open_jaxpr(body.jaxpr)
            scope = self.plan.around.get(deeper, location).scope
            here = location._replace(scope=scope)
            inputs = list(operands[len(operands) - len(inner.invars) :])
            if equation.primitive.name == "scan":
                inputs = self._of_iteration(equation, inner, operands)
            results = self.walk(inner, inputs, here, deeper, place)
        if not entered and plain is not None:
            inner = compat.open_jaxpr(plain)
            if len(inner.invars) == len(operands):
                results = self.walk(inner, operands, location, None, place)
        if results is not None and not _is_opaque(equation):
            return results
        fact = combine(equation, [o.fact for o in operands])
        drawn = equation.primitive.name in _RANDOM
        chance = any(o.random for o in operands) and all(
            o.random or o.fact.weight for o in operands
        )
        return [
            self.value(
                equation.primitive.name,
                variable.aval,
                fact,
                operands=operands,
                equation=equation,
                random=drawn or chance,
                path=place,
                around=around,
            )
            for variable in equation.outvars
        ]

    def _of_iteration(
        self, equation: Any, body: Any, operands: Sequence[Value]
    ) -> list[Value]:
        """The inputs of a scan's body: what is carried is the last iteration's."""
        constants, carried = compat.scan_split(equation)
        inputs = list(operands[:constants])
        for number, variable in enumerate(body.invars[constants:], constants):
            fact = operands[number].fact
            if number < constants + carried:
                fact = Fact(trained=True, fresh=False)
            inputs.append(self.value("", variable.aval, fact))
        return inputs


def _is_opaque(equation: Any) -> bool:
    """Whether the outputs of a call are not those of its body."""
    return equation.primitive.name in {"scan", "cond"}


def ancestors(value: Value, since: int) -> Iterator[Value]:
    """`value` and what it is made from, down to a number, each once."""
    seen = {value.number}
    waiting = [value]
    while waiting:
        found = waiting.pop()
        yield found
        for operand in found.operands:
            if operand.number >= since and operand.number not in seen:
                seen.add(operand.number)
                waiting.append(operand)
