"""Finds where the parameters of a loss meet the examples of its batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from nndiag.jaxprs import compat
from nndiag.jaxprs.bodies import Path, bodies
from nndiag.jaxprs.primitives import WRAPPINGS
from nndiag.probes.examples.axes import axis_after
from nndiag.probes.examples.notes import NO_AXIS, notes
from nndiag.probes.examples.uses import Use, use_of
from nndiag.probes.examples.values import CONSTANT, Value, joined, sliced
from nndiag.probes.examples.weights import image, whole

_SUMS = {"add", "add_any", "sub"}
_MOST_SIZES = 4
_MOST_PASSES = 8


class Found(NamedTuple):
    """Where the parameters of a loss meet the examples.

    Attributes:
        uses: by body and number of the equation, with the operands that are read.
        size: the number of examples.
        notes: what the norms leave out, one sentence each.
    """

    uses: dict[Path, dict[int, tuple[Use, tuple[int, ...]]]]
    size: int
    notes: tuple[str, ...]


def find(jaxpr: Any, names: Sequence[str]) -> Found:
    """Where the parameters of a loss meet the examples of its batch.

    The examples lie along the leading axis of arrays that the loss reads, or along
    the next, with time first. Of several lengths of leading axes the one counts that
    reaches most of the parameters' uses.

    Args:
        jaxpr: closed jaxpr of the loss as a function of its differentiated leaves.
        names: of these leaves.
    """
    body = compat.open_jaxpr(jaxpr)
    lengths = Counter(v.aval.shape[0] for v in body.constvars if v.aval.shape)
    sizes = [size for size, _ in lengths.most_common() if size > 1][:_MOST_SIZES]
    passes = [_pass_over(body, len(names), size) for size in sizes]
    best = max(passes, key=lambda one: len(one.uses), default=None)
    if best is None or not best.uses:
        return Found({}, 0, (NO_AXIS,))
    return best.found(names)


def _pass_over(body: Any, leaves: int, size: int) -> _Pass:
    one = _Pass(size)
    values = [
        Value(
            leaves=frozenset({leaf}),
            trained=True,
            weight=whole(leaf, variable.aval.shape),
        )
        for leaf, variable in enumerate(body.invars[:leaves])
    ]
    one.walk(body, values, (), 0)
    return one


class _Pass:
    """One pass over a loss, for one number of examples."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.uses: dict[tuple[Path, int], tuple[Any, ...]] = {}
        self.unreadable: dict[tuple[Path, int], tuple[str, frozenset[int]]] = {}
        self.mixing: set[tuple[Path, int]] = set()

    def walk(
        self, jaxpr: Any, values: Sequence[Value], path: Path, depth: int | None
    ) -> list[Value]:
        """Follows values through a jaxpr; `depth` is `None` where no mark may stand."""
        known: dict[Any, Value] = dict(zip(jaxpr.invars, values, strict=True))
        for variable in jaxpr.constvars:
            # Sequences may have time first.
            axes = [a for a, n in enumerate(variable.aval.shape[:2]) if n == self.size]
            known[variable] = Value(axis=axes[0], data=True) if axes else CONSTANT
        for index, equation in enumerate(jaxpr.eqns):
            operands = [
                CONSTANT if compat.is_literal(atom) else known[atom]
                for atom in equation.invars
            ]
            outputs = self._through(equation, operands, (path, index), depth)
            known.update(zip(equation.outvars, outputs, strict=True))
        return [
            CONSTANT if compat.is_literal(atom) else known[atom]
            for atom in jaxpr.outvars
        ]

    def found(self, names: Sequence[str]) -> Found:
        """What the pass has found."""
        count = Counter(weight.leaf for weight, *_ in self.uses.values())
        uses: dict[Path, dict[int, tuple[Use, tuple[int, ...]]]] = {}
        every: dict[int, list[Use]] = {}
        for number, (place, one) in enumerate(self.uses.items()):
            weight, kind, operation, axes, read, shape, depth, detail = one
            alone = count[weight.leaf] == 1
            use = Use(
                number, weight, kind, operation, axes, self.size, shape, depth, alone,
                detail,
            )  # fmt: skip
            path, index = place
            uses.setdefault(path, {})[index] = use, read
            every.setdefault(weight.leaf, []).append(use)
        lost: dict[str, set[int]] = {}
        for operation, leaves in self.unreadable.values():
            lost.setdefault(operation, set()).update(leaves)
        told = notes(names, every, lost, mixing=bool(self.mixing))
        return Found(uses, self.size, tuple(told))

    def _through(
        self,
        equation: Any,
        operands: list[Value],
        place: tuple[Path, int],
        depth: int | None,
    ) -> list[Value]:
        name = equation.primitive.name
        entered = list(bodies(equation))
        if name == "scan":
            return self._scan(equation, operands, place, depth)
        if entered:
            branches = [
                self.walk(
                    compat.open_jaxpr(body.jaxpr),
                    operands[len(operands) - len(body.operands) :],
                    (*place[0], place[1], body.number),
                    depth,
                )
                for body in entered
            ]
            return [joined(*values) for values in zip(*branches, strict=True)]
        if name in WRAPPINGS and WRAPPINGS[name] in equation.params:
            inner = compat.open_jaxpr(equation.params[WRAPPINGS[name]])
            return self.walk(inner, operands, (*place[0], place[1], 0), None)
        output = self._output(equation, operands, place, depth)
        return [output] * len(equation.outvars)

    def _output(
        self,
        equation: Any,
        operands: list[Value],
        place: tuple[Path, int],
        depth: int | None,
    ) -> Value:
        # The body of a scan is walked until what it carries is known.
        for earlier in (self.uses, self.unreadable):
            earlier.pop(place, None)
        name = equation.primitive.name
        trained = any(v.trained for v in operands) and name != "stop_gradient"
        if not any(v.data for v in operands):
            leaves = frozenset[int]().union(*(v.leaves for v in operands))
            made_of = [v for v in operands if v.leaves]
            weight = None
            others = [
                a
                for a, v in zip(equation.invars, operands, strict=True)
                if not v.leaves
            ]
            if (
                len(made_of) == 1
                and made_of[0].weight is not None
                and all(compat.is_literal(atom) for atom in others)
                and len(equation.outvars) == 1
            ):
                weight = image(equation, made_of[0].weight)
            return Value(leaves=leaves, trained=trained, weight=weight)
        # Of a value that is no example's own the axis is in doubt: prefer activations.
        axes = [value.axis for value in operands]
        sure = [v.axis if v.trained else None for v in operands]
        axis = axis_after(equation, axes, self.size)
        if len({a for a in axes if a is not None}) > 1 and any(
            a is not None for a in sure
        ):
            axis = axis_after(equation, sure, self.size) or axis
        self._note_mixing(operands, axis, place)
        self._note_use(equation, operands, axis, place, depth)
        return Value(axis=axis, data=True, trained=trained)

    def _note_mixing(
        self, operands: list[Value], axis: int | None, place: tuple[Path, int]
    ) -> None:
        pooled = any(v.data and v.trained and v.axis is None for v in operands)
        if pooled and axis is not None:
            self.mixing.add(place)

    def _note_use(
        self,
        equation: Any,
        operands: list[Value],
        axis: int | None,
        place: tuple[Path, int],
        depth: int | None,
    ) -> None:
        """Remembers a parameter that meets data here."""
        for number, value in enumerate(operands):
            if value.data or not value.trained:
                continue
            if equation.primitive.name in _SUMS and not equation.outvars[0].aval.shape:
                continue  # what is added to the loss itself is no example's
            used = None
            if value.weight is not None and depth is not None and len(operands) == 2:
                axes = [*(v.axis for v in operands), axis]
                used = use_of(equation, number, value.weight, axes)
            if used is None:
                self.unreadable[place] = equation.primitive.name, value.leaves
                continue
            kind, own, read, detail = used
            shape = equation.invars[number].aval.shape
            name = equation.primitive.name
            one = value.weight, kind, name, own, read, shape, depth, detail
            self.uses[place] = one

    def _scan(
        self,
        equation: Any,
        operands: list[Value],
        place: tuple[Path, int],
        depth: int | None,
    ) -> list[Value]:
        """Walks the body until what it carries is known."""
        constants, carried = compat.scan_split(equation)
        (body,) = bodies(equation)
        inner = compat.open_jaxpr(body.jaxpr)
        path = (*place[0], place[1], body.number)
        deeper = None if depth is None else depth + 1
        end = constants + carried
        fixed, carry = operands[:constants], operands[constants:end]
        slices = [sliced(value, depth) for value in operands[end:]]
        outputs: list[Value] = []
        for _ in range(_MOST_PASSES):
            outputs = self.walk(inner, [*fixed, *carry, *slices], path, deeper)
            after = [
                joined(*pair) for pair in zip(carry, outputs[:carried], strict=True)
            ]
            if after == carry:
                break
            carry = after
        stacked = [
            value._replace(
                axis=None if value.axis is None else value.axis + 1, weight=None
            )
            for value in outputs[carried:]
        ]
        return [*carry, *stacked]
