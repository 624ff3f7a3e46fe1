"""Evaluates a program equation by equation and follows every NaN and Inf."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nndiag.jaxprs import compat
from nndiag.records import Kind
from nndiag.replay import detection, loops, shards
from nndiag.replay.context import Context
from nndiag.replay.detection import STRUCTURAL, host, is_finite, is_float
from nndiag.replay.entering import wrapped
from nndiag.replay.interpreting import finish, interpret
from nndiag.replay.masks import is_mask
from nndiag.replay.provenance import (
    CLEAN,
    GIVEN,
    Event,
    Node,
    Story,
    Value,
    given,
    inherit,
    reaching,
    simplify,
)

_OPAQUE = frozenset(
    [
        "pallas_call",
        "ffi_call",
        "custom_partitioning",
        "tpu_custom_call",
        "custom_linear_solve",
        "call_hi_primitive",
        "pure_callback",
    ]
)


_FORKING = frozenset({"cond", "scan", "while"})
"""Primitives through which each shard may take its own way."""


class Walker:
    """Replays bodies of a program; what it finds goes into its `story`."""

    def __init__(self, story: Story) -> None:
        self.story = story

    def walk(
        self, jaxpr: Any, arguments: Sequence[Value], context: Context
    ) -> list[Value]:
        """The outputs of `jaxpr` at `arguments`, each with its labels."""
        frame = Frame(jaxpr, [value.data for value in arguments], context)

        def apply(equation: Any, inputs: list[Value]) -> list[Value]:
            return self.evaluate(equation, inputs, context, frame.maker)

        constants = [
            self._constant(context.stack(constant))
            for constant in compat.constants(jaxpr)
        ]
        return finish(
            interpret(
                jaxpr,
                arguments,
                apply,
                constants=constants,
                literal=lambda atom: given(context.stack(compat.literal(atom))),
            )
        )

    def _constant(self, constant: Any) -> Value:
        """A closed-over array; a NaN in it came from outside, as in an argument."""
        if not is_float(constant) or not np.isnan(host(constant)).any():
            return given(constant)
        data = host(constant)
        shape = ",".join(map(str, data.shape))
        name = f"a closed-over {data.dtype}[{shape}]"
        event = Event("nan", None, (), data, np.isnan(data), None, argument=name)
        label = self.story.label(frozenset({self.story.add(event)}))
        return Value(constant, label)

    def evaluate(
        self,
        equation: Any,
        inputs: Sequence[Value],
        context: Context,
        maker: Callable[[Any], Any],
    ) -> list[Value]:
        """The outputs of one equation, entered if it has a body."""
        name = equation.primitive.name
        body = wrapped(equation)
        if body is not None:
            return self.walk(body, inputs, context.inside(equation))
        if context.mesh and name in _FORKING and not shards.communicates(equation):
            return shards.replay_apart(self, equation, inputs, context, maker)
        if name == "cond":
            index = np.asarray(inputs[0].data)
            if index.min() == index.max():
                branches = equation.params["branches"]
                branch = int(np.clip(int(index.flat[0]), 0, len(branches) - 1))
                within = context.inside(equation, f"cond.branch{branch}")
                return self.walk(branches[branch], inputs[1:], within)
        elif name in ("scan", "while"):
            return loops.replay(self, equation, inputs, context)
        elif name == "shard_map" and not context.mesh:
            return shards.replay(self, equation, inputs, context)
        elif name in _OPAQUE:
            self.story.note(f"{name}{_place(context, equation)} was evaluated whole")
        data = [value.data for value in inputs]
        return self.settle(
            equation, inputs, context.bind(equation, data), context, maker
        )

    def settle(
        self,
        equation: Any,
        inputs: Sequence[Value],
        results: Sequence[Any],
        context: Context,
        maker: Callable[[Any], Any] | None = None,
    ) -> list[Value]:
        """Labels the results of an equation that was evaluated whole."""
        outputs = [
            Value(result)
            if is_finite(result)
            else self._label(equation, inputs, result, number, context, maker)
            for number, result in enumerate(results)
        ]
        self._bury(equation, inputs, outputs)
        return outputs

    def _label(
        self,
        equation: Any,
        inputs: Sequence[Value],
        data: Any,
        number: int,
        context: Context,
        maker: Callable[[Any], Any] | None,
    ) -> Value:
        result = host(data)
        operands = tuple(
            host(value.data) if is_float(value.data) else value.data for value in inputs
        )
        # A literal NaN that is only moved is still a literal.
        moved = equation.primitive.name in (*STRUCTURAL, "convert_element_type")
        literals = [
            not moved and not isinstance(v.labels, np.ndarray) and v.labels == GIVEN
            for v in inputs
        ]
        nan, inf = detection.newborn(equation, operands, literals, result)
        labels: Any = CLEAN
        if not (nan | inf)[~np.isfinite(result)].all():
            labels = inherit(self.story, equation, inputs, result, number, context.bind)
        born: list[Event] = []
        masks: tuple[tuple[Kind, Any], ...] = (("nan", nan), ("inf", inf))
        for kind, mask in masks:
            if not mask.any():
                continue
            event = Event(
                kind=kind,
                equation=equation,
                operands=operands,
                result=result,
                bad=mask,
                context=context,
                origins=reaching(self.story, inputs, mask, equation),
                maker=maker,
            )
            own = self.story.label(frozenset({self.story.add(event)}))
            if not isinstance(labels, np.ndarray):
                labels = np.where(np.isfinite(result), CLEAN, labels)
            labels = np.where(mask, own, labels).astype(np.int32)
            born.append(event)
        labels = simplify(labels)
        node = Node(
            kind="nan" if np.isnan(result).any() else "inf",
            equation=equation,
            context=context,
            parents=tuple(value.node for value in inputs if value.node is not None),
            events=self.story.behind(labels),
        )
        for event in born:
            event.node = node
        return Value(data, labels, node)

    def _bury(
        self, equation: Any, inputs: Sequence[Value], outputs: Sequence[Value]
    ) -> None:
        """Records how the events ended that no output of the equation carries on."""
        came = frozenset[int]().union(
            *(self.story.behind(value.labels) for value in inputs)
        )
        if not came:
            return
        alive = self.story.with_origins(
            frozenset[int]().union(*(self.story.behind(v.labels) for v in outputs))
        )
        nodes = [value.node for value in inputs if value.node is not None]
        for number in self.story.with_origins(came) - alive:
            event = self.story.events[number]
            masks = is_mask(event, number, equation.primitive.name, nodes)
            fate = "selected" if masks else detection.fate(equation, event.kind)
            event.fates.add(fate)


def _place(context: Context, equation: Any) -> str:
    location, _, _ = context.locate(equation)
    return f" at {location.file}:{location.line}" if location.file else ""


class Frame:
    """One evaluation of a body, able to compute its inner values again."""

    def __init__(self, jaxpr: Any, arguments: Sequence[Any], context: Context) -> None:
        inner = compat.open_jaxpr(jaxpr)
        self._equations = inner.eqns
        self._context = context
        self._values: dict[Any, Any] = dict(zip(inner.invars, arguments, strict=True))
        constants = compat.constants(jaxpr)
        for variable, constant in zip(inner.constvars, constants, strict=True):
            self._values[variable] = context.stack(constant)

    def maker(self, variable: Any) -> tuple[Any, Sequence[Any]] | None:
        """The equation that made `variable`, and what went into it."""
        if compat.is_literal(variable):
            return None
        for equation in self._equations:
            if any(out is variable for out in equation.outvars):
                return equation, [self._value(atom) for atom in equation.invars]
        return None

    def _value(self, atom: Any) -> Any:
        if compat.is_literal(atom):
            return self._context.stack(compat.literal(atom))
        if atom not in self._values:
            made = self.maker(atom)
            assert made is not None
            equation, operands = made
            outputs = self._context.bind(equation, operands)
            self._values.update(zip(equation.outvars, outputs, strict=True))
        return self._values[atom]
