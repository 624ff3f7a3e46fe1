"""Recognises plain gradient descent, θ′ = θ + s·g with a number s, by data flow.

There, ‖θ′ − θ‖ = |s| ‖g‖ and the cosine with −g is −sign(s), so the update need not be
read: in a small network that is the larger part of what watching every step costs. The
rounding of θ′ is left out, so only float32 and wider parameters are treated so; in
float16 and bfloat16 it decides whether a parameter moves at all, and the update is
measured.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.core import Tracer

from nndiag.jaxprs import compat
from nndiag.probes.harvest import Key
from nndiag.probes.later import Later, finish
from nndiag.records import TensorStats


class Scaled(NamedTuple):
    """A value that is a number times a gradient.

    Attributes:
        key: of the parameter whose gradient it is.
        scale: the number, 0-d.
    """

    key: Key
    scale: Any


class Flow(NamedTuple):
    """What passes through a jaxpr from its inputs to its outputs.

    Attributes:
        origins: for each parameter that is an unchanged input, which one it is.
        scaled: the outputs that are a known number times a gradient.
        moved: the outputs that are an input plus a number times a gradient.
    """

    origins: dict[Key, int]
    scaled: dict[int, Scaled]
    moved: dict[int, tuple[int, Scaled]]

    @staticmethod
    def nothing() -> Flow:
        """Nothing is known of the outputs."""
        return Flow({}, {}, {})


class Descent:
    """Follows the gradients of a jaxpr through multiplications by numbers.

    Args:
        jaxpr: whose equations are followed.

    Attributes:
        scaled: variables that are s·g.
        moved: variables that are θ + s·g, with the input that θ is.
    """

    def __init__(self, jaxpr: Any) -> None:
        self._jaxpr = jaxpr
        self.scaled: dict[Any, Scaled] = {}
        self.moved: dict[Any, tuple[int, Scaled]] = {}

    @functools.cached_property
    def only_scaled(self) -> set[Any]:
        """The variables that the jaxpr only multiplies by a number, once."""
        uses: Counter[Any] = Counter(
            atom
            for atoms in [*(e.invars for e in self._jaxpr.eqns), self._jaxpr.outvars]
            for atom in atoms
            if not compat.is_literal(atom)
        )
        return {
            atom
            for equation in self._jaxpr.eqns
            if equation.primitive.name in ("neg", "mul", "div")
            for atom in equation.invars
            if not compat.is_literal(atom)
            and uses[atom] == 1
            and all(o is atom or not o.aval.shape for o in equation.invars)
        }

    def follow(
        self, equation: Any, operands: list[Any], inputs: Mapping[Any, int]
    ) -> None:
        """Takes note of what `equation` does to a gradient.

        Args:
            equation: any equation without marks.
            operands: its values.
            inputs: from the variables that are unchanged inputs of the jaxpr to their
                numbers.
        """
        if equation.primitive.name in ("convert_element_type", "copy"):
            self._rename(equation)
            return
        held = [self._held(atom) for atom in equation.invars]
        if not any(held) or any(v.aval.dtype.itemsize < 4 for v in equation.outvars):
            return
        output = equation.outvars[0]
        match equation.primitive.name, held:
            case "neg", [Scaled(key, scale)]:
                self.scaled[output] = Scaled(key, -scale)
            case "mul", [Scaled(key, scale), None] if jnp.ndim(operands[1]) == 0:
                self.scaled[output] = Scaled(key, scale * operands[1])
            case "mul", [None, Scaled(key, scale)] if jnp.ndim(operands[0]) == 0:
                self.scaled[output] = Scaled(key, operands[0] * scale)
            case "div", [Scaled(key, scale), None] if jnp.ndim(operands[1]) == 0:
                self.scaled[output] = Scaled(key, scale / operands[1])
            case "select_n", [None, Scaled(key, a), Scaled(other, b)] if (
                jnp.ndim(operands[0]) == 0 and key == other
            ):
                self.scaled[output] = Scaled(key, jnp.where(operands[0], b, a))
            case (("add" | "add_any"), [None, Scaled() as step]):
                self._move(output, equation.invars[0], step, inputs)
            case (("add" | "add_any"), [Scaled() as step, None]):
                self._move(output, equation.invars[1], step, inputs)
            case "sub", [None, Scaled(key, scale)]:
                self._move(output, equation.invars[0], Scaled(key, -scale), inputs)
            case _:
                pass

    def enter(
        self,
        equation: Any,
        flow: Flow,
        inputs: Mapping[Any, int],
        fresh: Mapping[int, int],
    ) -> None:
        """Takes note of what passed through the body of `equation`.

        Args:
            equation: an equation whose body has its inputs and outputs, one to one.
            flow: of that body.
            inputs: as in `follow`.
            fresh: new numbers of the body's gradient calls.
        """
        for position, step in flow.scaled.items():
            self.scaled[equation.outvars[position]] = _renumbered(step, fresh)
        for position, (start, step) in flow.moved.items():
            output, atom = equation.outvars[position], equation.invars[start]
            self._move(output, atom, _renumbered(step, fresh), inputs)

    def leave(self, jaxpr: Any, origins: dict[Key, int]) -> Flow:
        """What passes to the outputs of `jaxpr`."""
        scaled: dict[int, Scaled] = {}
        moved: dict[int, tuple[int, Scaled]] = {}
        for position, atom in enumerate(jaxpr.outvars):
            if compat.is_literal(atom):
                continue
            if atom in self.scaled:
                scaled[position] = self.scaled[atom]
            if atom in self.moved:
                moved[position] = self.moved[atom]
        return Flow(origins, scaled, moved)

    def _held(self, atom: Any) -> Scaled | None:
        return None if compat.is_literal(atom) else self.scaled.get(atom)

    def _rename(self, equation: Any) -> None:
        """Of the same type (but for weakness), the copy is what was copied."""
        (atom,), (output,) = equation.invars, equation.outvars
        if compat.is_literal(atom) or atom.aval.dtype != output.aval.dtype:
            return
        if atom in self.scaled:
            self.scaled[output] = self.scaled[atom]
        if atom in self.moved:
            self.moved[output] = self.moved[atom]

    def _move(
        self, output: Any, start: Any, step: Scaled, inputs: Mapping[Any, int]
    ) -> None:
        if not compat.is_literal(start) and start in inputs:
            self.moved[output] = inputs[start], step


def out_of_jit(flow: Flow) -> Flow:
    """The part of `flow` that may leave a jitted function: traced numbers may not."""
    return Flow(
        flow.origins,
        {i: s for i, s in flow.scaled.items() if not isinstance(s.scale, Tracer)},
        {i: m for i, m in flow.moved.items() if not isinstance(m[1].scale, Tracer)},
    )


def _renumbered(step: Scaled, fresh: Mapping[int, int]) -> Scaled:
    call, site = step.key
    return Scaled((fresh.get(call, call), site), step.scale)


def describe_step(scale: Any, gradient_norm: Any) -> TensorStats:
    """Norm of the update s·g, and its cosine with the negative gradient −g.

    Args:
        scale: s.
        gradient_norm: ‖g‖, perhaps not finished yet.
    """
    if isinstance(gradient_norm, Later):
        (square,) = gradient_norm.operands
    else:
        square = jnp.square(finish(gradient_norm))
    scale = jnp.asarray(scale, square.dtype)
    operands = scale, square
    return TensorStats(
        norm=Later(operands, _length), cosine=Later(operands, _direction)
    )


def _length(scale: Any, square: Any) -> Any:
    return jnp.abs(scale) * jnp.sqrt(square)


def _direction(scale: Any, square: Any) -> Any:
    return jnp.where(_length(scale, square) > 0, -jnp.sign(scale), 0.0)
