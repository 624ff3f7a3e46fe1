"""Finds the operations of a loss that can leave the range of their type.

One pass over its jaxpr, with what `nndiag.probes.bounds` knows of each value: what can
be shown to stay well within the range is not watched.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import jax.numpy as jnp
import numpy as np

from nndiag.jaxprs import compat
from nndiag.jaxprs.bodies import Path, bodies
from nndiag.jaxprs.location import Location, join, locate
from nndiag.jaxprs.marks import Mark
from nndiag.probes import bounds
from nndiag.probes.bounds import Bound
from nndiag.probes.peaks import PEAKS, RESULTS, Operation, peak
from nndiag.probes.plan import Plan, Sentinel
from nndiag.records import Site

SAFE = 0.25
"""Share of the range of exponents that must remain, at worst, for an operation not to
be watched: no warning is given while so much is left."""

_NARROW = 16
"""Exponents of a type in which sums and dots are watched: float16 and float8.

bfloat16 has the range of float32."""

_MILD = 1 / 16
"""Share of the range by which a division by a constant may stretch unwatched."""


def watch_risks(jaxpr: Any, leaves: int, call: int, plan: Plan) -> None:
    """Adds a sentinel to `plan` for each operation that is at risk.

    Args:
        jaxpr: closed jaxpr of the loss as a function of its differentiated leaves.
        leaves: their number.
        call: number of the gradient call, for its marks.
        plan: of the survey of the same jaxpr.
    """
    body = compat.open_jaxpr(jaxpr)
    inputs = [bounds.unknown(v, i < leaves) for i, v in enumerate(body.invars)]
    _Pass(call, plan).walk(body, inputs, Location("", "", 0), ())


class _Pass:
    """The state of one pass."""

    def __init__(self, call: int, plan: Plan) -> None:
        self.call = call
        self.plan = plan
        self.used: Counter[str] = Counter()

    def walk(
        self,
        jaxpr: Any,
        inputs: list[Bound],
        around: Location,
        path: Path,
        watched: bool = True,
    ) -> list[Bound]:
        """Follows bounds through one jaxpr; returns those of its outputs.

        Args:
            jaxpr: open.
            inputs: bounds on its inputs.
            around: the location of the equation that holds it.
            path: of it.
            watched: whether marks can be placed in it.
        """
        known: dict[Any, Bound] = dict(zip(jaxpr.invars, inputs, strict=True))
        known.update((v, bounds.unknown(v)) for v in jaxpr.constvars)
        within = self._activations(jaxpr, path)
        for index, equation in enumerate(jaxpr.eqns):
            operands = [
                bounds.constant(a) if compat.is_literal(a) else known[a]
                for a in equation.invars
            ]
            place = (*path, index)
            location = locate(equation, around.scope)
            if not location.file:  # inside a library's function, traced earlier
                location = around._replace(scope=location.scope)
            seen = watched and index not in within
            if seen:
                self._note(equation, operands, location, place)
            outputs = self._through(equation, operands, location, place, seen)
            known.update(zip(equation.outvars, outputs, strict=True))
        return [
            bounds.constant(a) if compat.is_literal(a) else known[a]
            for a in jaxpr.outvars
        ]

    def _through(
        self,
        equation: Any,
        operands: list[Bound],
        location: Location,
        place: Path,
        watched: bool,
    ) -> list[Bound]:
        entered = list(bodies(equation))
        found: list[list[Bound]] = []
        for body in entered:
            inner = compat.open_jaxpr(body.jaxpr)
            inputs = _entering(equation, operands, inner)
            deeper = (*place, body.number)
            scope = self.plan.around.get(deeper, location).scope
            here = location._replace(scope=scope)
            found.append(self.walk(inner, inputs, here, deeper, watched))
        if not entered:
            # The derivative of other bodies is their own: nothing is marked there.
            for inner in compat.jaxprs_in(equation):
                if len(inner.invars) == len(operands):
                    found.append(self.walk(inner, operands, location, place, False))
                    break
        outputs = bounds.follow(equation, operands)
        plain = equation.primitive.name in _PLAIN and len(found) == 1
        return found[0] if plain and len(found[0]) == len(outputs) else outputs

    def _activations(self, jaxpr: Any, path: Path) -> set[int]:
        """Numbers of the equations that compute activations from pre-activations.

        XLA fuses each such function into one loop; a second reader inside could change
        how, and the last bit of the result with it.
        """
        within: set[int] = set()
        for index in range(len(jaxpr.eqns)):
            visit = self.plan.visits.get((*path, index))
            if visit is not None and visit.root is not None:
                within |= _between(jaxpr, visit.root, index)
        return within

    def _note(
        self, equation: Any, operands: list[Bound], location: Location, place: Path
    ) -> None:
        """Places a sentinel at an equation, if it is at risk."""
        operation = _operation(equation, operands)
        if operation is None or _is_safe(operation, equation, operands):
            return
        output = equation.outvars[0]
        key = join(location.scope, operation.name)
        self.used[key] += 1
        site = Site(
            key if self.used[key] == 1 else f"{key}#{self.used[key]}",
            kind="operation",
            scope=location.scope,
            function=operation.name,
            order=self.plan.order(place),
            dtype=str(output.aval.dtype),
            shape=tuple(output.aval.shape),
            file=location.file,
            line=location.line,
            axes=self.plan.axes(place),
        )
        mark = Mark("value", site, self.call, detail=operation)
        sentinel = Sentinel(mark, *_marked(operation))
        self.plan.sentinels.setdefault(place[:-1], {})[place[-1]] = sentinel


_PLAIN = {"jit", "remat2", "custom_jvp_call", "custom_vjp_call"}
"""Calls whose body runs once, with their operands."""


def _between(jaxpr: Any, root: Any, last: int) -> set[int]:
    """Numbers of the equations from the variable `root` to the equation `last`."""
    found: set[int] = set()
    needed = set(jaxpr.eqns[last].outvars)
    for index in range(last, -1, -1):
        equation = jaxpr.eqns[index]
        if not needed.isdisjoint(equation.outvars) and root not in equation.outvars:
            found.add(index)
            needed.update(a for a in equation.invars if not compat.is_literal(a))
    return found


def _entering(equation: Any, operands: list[Bound], inner: Any) -> list[Bound]:
    """Bounds on the inputs of a body: of a loop, what changes in it is not known."""
    last = operands[len(operands) - len(inner.invars) :]
    if equation.primitive.name != "scan":
        return last
    constants, carried = compat.scan_split(equation)
    trained = any(bound.trained for bound in operands)
    return [
        bound
        if number < constants
        else bounds.unknown(variable, trained)
        if number < constants + carried
        else bounds.element(bound)
        for number, (variable, bound) in enumerate(zip(inner.invars, last, strict=True))
    ]


def _operation(equation: Any, operands: list[Bound]) -> Operation | None:
    """What the equation is as an operation at risk, `None` if it is none."""
    name = equation.primitive.name
    if name not in PEAKS or not _is_float(equation.outvars[0]):
        return None
    output, first = equation.outvars[0].aval, equation.invars[0].aval
    if not output.size or not first.size:
        return None
    narrow = _exponents(output.dtype) <= _NARROW
    exponent = equation.params["y"] if name == "integer_pow" else 0
    steep = operands[-1].trained
    second = name == "pow" and compat.is_literal(equation.invars[0])
    operation = Operation(name, exponent, steep, second or (name == "div" and steep))
    if name in RESULTS:
        return operation if narrow else None
    if name == "convert_element_type":
        wide = _exponents(first.dtype) if _is_float(equation.invars[0]) else 64
        return operation if wide > _exponents(output.dtype) else None
    if name == "mul" and operands[0].token != operands[1].token:
        return None
    if name == "sqrt" and not operation.steep:
        return None
    return operation


def _is_float(atom: Any) -> bool:
    return jnp.issubdtype(atom.aval.dtype, jnp.floating)


def _exponents(dtype: Any) -> int:
    """The range of a floating-point type, in bits."""
    return round(math.log2(float(jnp.finfo(dtype).max)))


def _is_safe(operation: Operation, equation: Any, operands: list[Bound]) -> bool:
    """Whether the bounds alone keep the peak well within the range."""
    if operation.name in RESULTS:
        return False
    if operation.name == "log1p":
        (bound,) = operands
        operation = operation._replace(name="log")
        operands = [bound._replace(low=1 + bound.low, high=1 + bound.high)]
    exponents = _exponents(equation.outvars[0].aval.dtype)
    values = np.meshgrid(*map(_extremes, operands))
    with np.errstate(all="ignore"):
        worst = float(peak(operation, np, *values))
        if operation.name == "div" and not operation.steep:
            smallest = float(np.abs(_extremes(operands[1])).min())
            if smallest >= 2.0 ** (-_MILD * exponents):
                return True
    return worst <= 2.0 ** ((1 - SAFE) * exponents)


def _extremes(bound: Bound) -> Any:
    """The ends of a bound, and next to 0 if that lies between them."""
    limits = np.finfo(np.float64)
    near = [x for x in (limits.tiny, -limits.tiny) if bound.low <= x <= bound.high]
    return np.clip(np.array([bound.low, bound.high, *near]), limits.min, limits.max)


def _marked(operation: Operation) -> tuple[int | None, tuple[int, ...]]:
    """Number of the operand to mark, `None` for the result; and of its riders."""
    if operation.name in RESULTS:
        return None, ()
    if operation.name not in ("div", "pow"):
        return 0, ()
    return (1, (0,)) if operation.second else (0, (1,))
