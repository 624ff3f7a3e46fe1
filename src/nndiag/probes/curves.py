"""Which values of a program are activations of which other values."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nndiag.jaxprs import compat
from nndiag.probes import activations, elementwise
from nndiag.probes.elementwise import GRID, Curve


class Activated(NamedTuple):
    """A value recognised as an activation.

    Attributes:
        function: its name in `nndiag.probes.activations`.
        root: the variable it is a function of, the pre-activation.
        inner: variables inside its own computation, recognised before it was (the
            tanh of a gelu): they are no activations of their own.
    """

    function: str
    root: Any
    inner: frozenset[Any]


_PRIMITIVES = {"tanh": "tanh", "logistic": "sigmoid"}
_MOST_ROOTS = 3


class Curves:
    """Follows, through one jaxpr, how values are computed element by element.

    Each value is known as a curve over one or more *roots*: the last value that was
    not made element by element, and those made from it by an affine map (so that
    `tanh(2x/3)` is seen as a tanh of `2x/3`).
    """

    def __init__(self) -> None:
        self._known: dict[Any, dict[Any, Curve]] = {}
        self._inner: dict[Any, frozenset[Any]] = {}

    def follow(self, equation: Any) -> Activated | None:
        """Takes the next equation in; returns its output if it is an activation."""
        if len(equation.outvars) != 1:
            return None
        output = equation.outvars[0]
        found = self._evaluate(equation)
        inner = frozenset[Any]().union(
            *(self._inner.get(a, frozenset()) for a in _variables(equation))
        )
        recognised = self._recognise(equation, found, inner)
        if recognised is not None:
            inner |= {output}
        if found:
            self._inner[output] = inner
            if recognised is not None or any(map(_is_affine, found.values())):
                found[output] = GRID
            # The oldest root sees most, the newest is the fallback.
            roots = list(found)[: _MOST_ROOTS - 1] + list(found)[-1:]
            self._known[output] = {root: found[root] for root in roots}
        return recognised

    def _evaluate(self, equation: Any) -> dict[Any, Curve]:
        """The output's curve over each root that all its operands share."""
        known = [self._over_roots(atom) for atom in equation.invars]
        rooted = [curves for curves in known if None not in curves]
        if not rooted:
            shared: list[Any] = [None]
        else:
            shared = [r for r in rooted[0] if all(r in curves for curves in rooted)]
        found: dict[Any, Curve] = {}
        for root in shared:
            if root is not None and not _same_shape(root, equation.outvars[0]):
                continue
            curves = [c[root] if root in c else c.get(None) for c in known]
            operands = [curve for curve in curves if curve is not None]
            if len(operands) < len(known):
                continue
            outputs = elementwise.evaluate(equation, operands)
            if outputs is not None:
                found[root] = outputs[0]
        return found

    def _over_roots(self, atom: Any) -> dict[Any, Curve]:
        """Curves of an operand by root; a constant has the root `None`."""
        if compat.is_literal(atom):
            curve = elementwise.constant_curve(atom.val)
            return {} if curve is None else {None: curve}
        return self._known.get(atom, {atom: GRID})

    def _recognise(
        self, equation: Any, found: dict[Any, Curve], inner: frozenset[Any]
    ) -> Activated | None:
        for root, curve in found.items():
            function = None if root is None else activations.recognise(curve)
            if function is not None:
                return Activated(function, root, inner - {root})
        function = _PRIMITIVES.get(equation.primitive.name)
        if function is not None and not compat.is_literal(equation.invars[0]):
            return Activated(function, equation.invars[0], frozenset())
        return None


def _variables(equation: Any) -> list[Any]:
    return [atom for atom in equation.invars if not compat.is_literal(atom)]


def _same_shape(root: Any, output: Any) -> bool:
    return root.aval.shape == output.aval.shape


def _is_affine(curve: Curve) -> bool:
    """Whether a curve is a line that is neither level nor the identity."""
    if curve.dtype == bool or not np.isfinite(curve).all():
        return False
    slope = (curve[1] - curve[0]) / (GRID[1] - GRID[0])
    line = curve[0] + slope * (GRID - GRID[0])
    return slope not in (0.0, 1.0) and np.allclose(curve, line)
