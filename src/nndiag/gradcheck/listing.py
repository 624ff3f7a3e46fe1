"""A program as one list of steps, any of which can be given another meaning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nndiag.jaxprs import compat
from nndiag.jaxprs.location import locate

_MOST_UNROLLED = 512
_INLINED = {
    "jit": "jaxpr",
    "closed_call": "call_jaxpr",
    "eval_jaxpr": "call_jaxpr",
    "remat2": "jaxpr",
}


class Literal(NamedTuple):
    """A value that stands in the program itself."""

    value: Any


class Step(NamedTuple):
    """One equation.

    Attributes:
        equation: as JAX has it.
        inputs: numbers of values, or literals.
        outputs: numbers of values.
        file: where the user wrote it, ``""`` if unknown.
        line: the line in `file`, 0 if unknown.
        turn: number of its outermost unrolled loop, its iteration, and how many there
            are; `None` outside of loops.
    """

    equation: Any
    inputs: tuple[int | Literal, ...]
    outputs: tuple[int, ...]
    file: str
    line: int
    turn: tuple[int, int, int] | None = None


Edit = Callable[[dict[int, Any], Step], list[Any]]
"""From the values so far and a step to the outputs of the step."""


class Listing:
    """A program without the boundaries of its jitted functions.

    Attributes:
        steps: in order.
        inputs: numbers of the arguments.
        outputs: numbers of the results, or literals.
        constants: the values of closed-over arrays.
    """

    def __init__(self, jaxpr: Any) -> None:
        self.steps: list[Step] = []
        self.constants: dict[int, Any] = {}
        self._count = 0
        self._turn: tuple[int, int, int] | None = None
        inner = compat.open_jaxpr(jaxpr)
        self.inputs = [self._number() for _ in inner.invars]
        self.outputs = self._add(jaxpr, self.inputs, None)

    def run(
        self, arguments: Sequence[Any], edits: Mapping[int, Edit] | None = None
    ) -> tuple[list[Any], dict[int, Any]]:
        """Evaluates the steps, those in `edits` by the edit.

        Returns:
            The outputs, and every value by its number.
        """
        values = {**self.constants, **dict(zip(self.inputs, arguments, strict=True))}
        for index, step in enumerate(self.steps):
            if edits and index in edits:
                outputs = edits[index](values, step)
            else:
                operands = [read(values, atom) for atom in step.inputs]
                outputs = compat.bind(step.equation, operands)
            values.update(zip(step.outputs, outputs, strict=True))
        return [read(values, atom) for atom in self.outputs], values

    def _number(self) -> int:
        self._count += 1
        return self._count

    def _add(self, jaxpr: Any, inputs: Sequence[Any], call: Any) -> list[int | Literal]:
        inner = compat.open_jaxpr(jaxpr)
        known: dict[Any, int | Literal] = dict(zip(inner.invars, inputs, strict=True))
        constants = compat.constants(jaxpr)
        for variable, value in zip(inner.constvars, constants, strict=True):
            known[variable] = number = self._number()
            self.constants[number] = value

        def atom(variable: Any) -> int | Literal:
            if compat.is_literal(variable):
                return Literal(jnp.asarray(compat.literal(variable)))
            return known[variable]

        for equation in inner.eqns:
            atoms = [atom(variable) for variable in equation.invars]
            # The lines within a function of JAX are those of its first call.
            seen = call or equation
            body = _INLINED.get(equation.primitive.name)
            if equation.primitive.name == "scan" and _is_short(equation):
                results = self._unroll(equation, atoms, call)
            elif body is not None:
                within = seen if compat.is_jax_function(equation) else call
                results = self._add(equation.params[body], atoms, within)
            else:
                results = [self._number() for _ in equation.outvars]
                _, file, line = locate(seen)
                ends = tuple(atoms), tuple(results)
                self.steps.append(Step(equation, *ends, file, line, self._turn))
            known.update(zip(equation.outvars, results, strict=True))
        return [atom(variable) for variable in inner.outvars]

    def _unroll(self, equation: Any, atoms: list[Any], call: Any) -> list[Any]:
        """The steps of a loop, iteration after iteration."""
        fixed, carried = compat.scan_split(equation)
        constants, carry = atoms[:fixed], atoms[fixed : fixed + carried]
        rows, length = atoms[fixed + carried :], equation.params["length"]
        shapes = [v.aval for v in equation.invars[fixed + carried :]]
        made: dict[int, list[Any]] = {}
        turns = range(length)
        outer, loop = self._turn, self._number()
        for turn in reversed(turns) if equation.params["reverse"] else turns:
            self._turn = outer or (loop, turn, length)
            sliced = [
                self._add(
                    compat.trace(lambda x, t=turn: [x[t]], shape), [row], equation
                )
                for row, shape in zip(rows, shapes, strict=True)
            ]
            inputs = [*constants, *carry, *(atom for (atom,) in sliced)]
            results = self._add(equation.params["jaxpr"], inputs, call)
            carry, made[turn] = results[:carried], results[carried:]
        self._turn = outer
        stacked = []
        for number, variable in enumerate(equation.outvars[carried:]):
            row = jax.ShapeDtypeStruct(variable.aval.shape[1:], variable.aval.dtype)
            jaxpr = compat.trace(lambda *each: [jnp.stack(each)], *[row] * length)
            stacked += self._add(jaxpr, [made[t][number] for t in turns], equation)
        return [*carry, *stacked]


def _is_short(scan: Any) -> bool:
    body = compat.open_jaxpr(scan.params["jaxpr"])
    return 0 < scan.params["length"] * len(body.eqns) <= _MOST_UNROLLED


def read(values: Mapping[int, Any], atom: int | Literal) -> Any:
    """The value of an input of a step."""
    return atom.value if isinstance(atom, Literal) else values[atom]
