"""How marked values differ between the devices of a mesh, by data flow.

Within a `shard_map`, an input differs along the axes of the mesh that it is split over,
and so does all that is computed from it; a sum or a gathering over an axis ends that.
What differs along no axis is the same number on each device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from nndiag.jaxprs import compat
from nndiag.jaxprs.marks import Mark, mark_primitive
from nndiag.probes.harvest import Key

Axes = frozenset[str]
_NONE: Axes = frozenset()

SUMS = frozenset({"psum", "psum_invariant", "psum2"})
_UNITING = SUMS | {
    "pmin",
    "pmax",
    "all_gather",
    "all_gather_invariant",
    "all_gather_reduced",
}
_PARTING = {
    "ppermute",
    "psum_scatter",
    "reduce_scatter",
    "all_to_all",
    "ragged_all_to_all",
    "axis_index",
}


class Differing(NamedTuple):
    """Along which axes of the mesh a value may differ between devices.

    Attributes:
        axes: all of them.
        units: those along which it does because weights do, not data: it is split by
            its units then.
        copies: those along which whole copies were stacked by the caller.
    """

    axes: Axes = _NONE
    units: Axes = _NONE
    copies: Axes = _NONE


class _Fact(NamedTuple):
    """What is known of a value.

    Attributes:
        axes: along which it differs.
        units: along which it does because of weights.
        weight: it is made of parameters and numbers alone.
        lead: axes that the first dimension, of one element, of the input of a
            `shard_map` is split over, of which it is a part; and the input's rank.
    """

    axes: Axes = _NONE
    units: Axes = _NONE
    weight: bool = False
    lead: tuple[Axes, int] = (_NONE, 0)


_NUMBER = _Fact(weight=True)


def survey_replication(jaxpr: Any) -> Replication:
    """How the marked values of a program differ between devices."""
    found = Replication()
    body = compat.open_jaxpr(jaxpr)
    _Pass(found).walk(body, [_Fact()] * len(body.invars))
    return found


class Replication:
    """What is known of the marks of a program, and of its `shard_map` equations."""

    def __init__(self) -> None:
        self._marks: dict[tuple[str, Any], Differing] = {}
        self._outputs: dict[int, list[Axes]] = {}

    def of(self, role: str, key: Key) -> Differing:
        """How the value differs that a mark of this role and place points at."""
        precise = self._marks.get((role, key))
        return precise or self._marks.get((role, key[1]), Differing())

    def loss(self, call: int) -> Axes:
        """The axes along which the differentiated scalar of a call differs."""
        return self._marks.get(("loss", call), Differing()).axes

    def outputs(self, equation: Any) -> list[Axes]:
        """For each output of the body of a `shard_map`, along which axes it differs."""
        return self._outputs[id(equation)]

    def note(self, mark: Mark, found: Differing) -> None:
        """Takes in one mark."""
        names: list[Any] = [mark.call] if mark.role == "loss" else []
        names += [(mark.call, mark.site), mark.site]
        for name in names:
            axes, units, copies = self._marks.get((mark.role, name), Differing())
            self._marks[mark.role, name] = Differing(
                axes | found.axes, units | found.units, copies | found.copies
            )

    def note_outputs(self, equation: Any, facts: Sequence[Axes]) -> None:
        """Takes in one `shard_map`."""
        self._outputs[id(equation)] = list(facts)


class _Pass:
    """One pass over a program."""

    def __init__(self, found: Replication) -> None:
        self.found = found

    def walk(self, jaxpr: Any, facts: Sequence[_Fact]) -> list[_Fact]:
        """Follows facts through a jaxpr; returns those of its outputs."""
        known: dict[Any, _Fact] = dict(zip(jaxpr.invars, facts, strict=True))
        known |= dict.fromkeys(jaxpr.constvars, _Fact())

        def read(atom: Any) -> _Fact:
            return _NUMBER if compat.is_literal(atom) else known[atom]

        for equation in jaxpr.eqns:
            outputs = self._through(equation, [read(a) for a in equation.invars])
            known.update(zip(equation.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _through(self, equation: Any, facts: list[_Fact]) -> list[_Fact]:
        if equation.primitive is mark_primitive:
            return [self._note(equation, facts[0])]
        match equation.primitive.name:
            case "shard_map":
                return self._shards(equation, facts)
            case "scan":
                return self._scan(equation, facts)
            case "while":
                return self._while(equation, facts)
            case "cond":
                return self._cond(equation, facts)
            case _:
                pass
        for body in compat.jaxprs_in(equation):
            if len(body.invars) == len(facts):
                outputs = self.walk(body, facts)
                if len(outputs) == len(equation.outvars):
                    return outputs
        return [_combined(equation, facts)] * len(equation.outvars)

    def _note(self, equation: Any, fact: _Fact) -> _Fact:
        mark: Mark = equation.params["mark"]
        axes, rank = fact.lead
        atom = equation.invars[0]
        stacked = mark.role == "parameter" and len(atom.aval.shape) < rank
        copies = axes if stacked else _NONE
        units = fact.axes if fact.weight else fact.units
        self.found.note(mark, Differing(fact.axes, units, copies))
        if mark.role != "parameter":
            return fact
        # Of a stacked copy, each device has all units.
        return fact._replace(weight=not copies, units=fact.axes - copies)

    def _shards(self, equation: Any, facts: list[_Fact]) -> list[_Fact]:
        plan = compat.manual(equation)
        inside: list[_Fact] = []
        for fact, split, variable in zip(
            facts, plan.inputs, plan.body.invars, strict=True
        ):
            own = frozenset(name for names in split for name in names)
            shape = variable.aval.shape
            first = frozenset(split[0]) if shape and shape[0] == 1 else _NONE
            inside.append(fact._replace(axes=fact.axes | own, lead=(first, len(shape))))
        outputs = self.walk(plan.body, inside)
        names = frozenset(plan.names)
        self.found.note_outputs(equation, [fact.axes & names for fact in outputs])
        return [
            _Fact(fact.axes - names, fact.units - names, fact.weight)
            for fact in outputs
        ]

    def _scan(self, equation: Any, facts: list[_Fact]) -> list[_Fact]:
        body = compat.open_jaxpr(equation.params["jaxpr"])
        constants, carried = compat.scan_split(equation)
        return self._loop(body, facts, constants, carried)

    def _while(self, equation: Any, facts: list[_Fact]) -> list[_Fact]:
        body = compat.open_jaxpr(equation.params["body_jaxpr"])
        facts = facts[equation.params["cond_nconsts"] :]
        constants = equation.params["body_nconsts"]
        return self._loop(body, facts, constants, len(facts) - constants)

    def _loop(
        self, body: Any, facts: list[_Fact], constants: int, carried: int
    ) -> list[_Fact]:
        """Walks the body until what is carried differs along no further axis."""
        end = constants + carried
        while True:
            outputs = self.walk(body, facts)
            carry = [
                _union([old, new])
                for old, new in zip(
                    facts[constants:end], outputs[:carried], strict=True
                )
            ]
            if carry == facts[constants:end]:
                return outputs
            facts = [*facts[:constants], *carry, *facts[end:]]

    def _cond(self, equation: Any, facts: list[_Fact]) -> list[_Fact]:
        chosen, *values = facts
        branches = [
            self.walk(compat.open_jaxpr(branch), values)
            for branch in equation.params["branches"]
        ]
        return [_union([chosen, *results]) for results in zip(*branches, strict=True)]


def _union(facts: Sequence[_Fact]) -> _Fact:
    """What is known of a value that is one of several."""
    axes = _NONE.union(*(fact.axes for fact in facts))
    units = _NONE.union(*(fact.units for fact in facts))
    leads = {fact.lead for fact in facts}
    lead = leads.pop() if len(leads) == 1 else (_NONE, 0)
    return _Fact(axes, units, all(fact.weight for fact in facts), lead)


def _combined(equation: Any, facts: list[_Fact]) -> _Fact:
    """What is known of the outputs of an equation without bodies."""
    weight = all(fact.weight for fact in facts)
    axes = _NONE.union(*(fact.axes for fact in facts))
    units = _NONE.union(*(f.axes if f.weight else f.units for f in facts))
    name, own = equation.primitive.name, named_axes(equation)
    if name in _UNITING and not equation.params.get("axis_index_groups"):
        axes, units = axes - own, units - own
    elif name in _PARTING:
        axes = axes | own
    arrays = [fact for fact in facts if fact.axes or not fact.weight]
    lead = arrays[0].lead if len(arrays) == 1 else (_NONE, 0)
    return _Fact(axes, units & axes, weight and bool(facts), lead)


def named_axes(equation: Any) -> Axes:
    """The axes of the mesh that a collective goes over."""
    held = equation.params.get("axes", equation.params.get("axis_name", ()))
    names = held if isinstance(held, tuple | list | frozenset) else (held,)
    return frozenset(name for name in names if isinstance(name, str))
