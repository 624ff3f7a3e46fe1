"""The path of the backward pass that a hand-written gradient forgets or bends.

The derivative is a sum over the ways back from the result to a parameter. Scaling what
flows back over one edge of the program, from the result of an equation to one of its
operands, by α changes it to G − (1 − α)·G_e, where G_e is the part that came over this
edge. So one gradient without the edge tells for every α what would come out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.gradcheck.blaming import Blame, Subject, place
from nndiag.gradcheck.comparing import distance
from nndiag.gradcheck.listing import Edit, Listing, Step, read
from nndiag.jaxprs import compat

PATH = "path"
_MOST_EDGES = 256
_MOST_NUMBERS = 2**24
_SEEN = 1e-6
"""A path that carries less than this share of the derivative explains nothing."""


class Edge(NamedTuple):
    """One operand of one step."""

    step: int
    operand: int


class Bent(NamedTuple):
    """What a gradient does with the paths over some edges.

    Attributes:
        edges: one edge, or several that are all left out.
        factor: α; 0 where the paths are left out.
        residual: what is left unexplained, relative.
    """

    edges: tuple[Edge, ...]
    factor: float
    residual: float


class Paths:
    """The gradient of a function, taken apart by its edges; to be used within `wide`.

    Attributes:
        groups: edges that are looked at together: each by itself, then those that
            stand for the same operand on one line, as in an unrolled loop.
    """

    def __init__(self, subject: Subject, size: int) -> None:
        self._subject = subject
        edges = _edges(subject.listing, subject.sources)
        room = min(_MOST_EDGES, max(1, _MOST_NUMBERS // max(1, size)))
        self._edges = edges[:room]
        steps = subject.listing.steps
        together: dict[Any, list[Edge]] = {}
        for edge in self._edges:
            step = steps[edge.step]
            name = step.equation.primitive.name
            key = step.file, step.line, name, edge.operand
            together.setdefault(key, []).append(edge)
        several = [tuple(group) for group in together.values() if len(group) > 1]
        self.groups = [(edge,) for edge in self._edges] + several
        self._mute = np.ones(len(self._edges))

    def parts(self, expected: Any) -> Any:
        """For each group what came over its edges, `(groups, entries)`.

        Args:
            expected: the derivative, as one vector.
        """
        kept = np.ones((len(self.groups), len(self._edges)))
        for row, group in enumerate(self.groups):
            kept[row, [self._edges.index(edge) for edge in group]] = 0
        without = jax.jit(lambda rows: jax.lax.map(self._gradient, rows))(kept)
        return expected - np.asarray(without)

    def mute(self, groups: Any) -> bool:
        """Fixes single edges from now on, for slips too; whether there were any.

        Args:
            groups: which of `groups`.
        """
        fixed = groups[: len(self._edges)]
        self._mute = np.where(fixed, 0.0, 1.0)
        self._subject.muted = self._edits(self._mute, np.flatnonzero(fixed))
        return bool(fixed.any())

    def without(self, edges: Sequence[Edge]) -> Any:
        """The gradient without what flows back over some edges."""
        kept = [0.0 if edge in edges else 1.0 for edge in self._edges]
        return np.asarray(self._gradient(jnp.asarray(kept)))

    def _gradient(self, scales: Any) -> Any:
        edits = self._edits(scales * self._mute, range(len(self._edges)))
        return self._subject.gradient(edits)

    def _edits(self, scales: Any, numbers: Iterable[int]) -> dict[int, Edit]:
        by_step: dict[int, dict[int, Any]] = {}
        for number in numbers:
            edge = self._edges[number]
            by_step.setdefault(edge.step, {})[edge.operand] = scales[number]
        return {step: _scaling(factors) for step, factors in by_step.items()}


def blame_path(
    subject: Subject, given: Any, expected: Any, rounding: float
) -> Blame | None:
    """The way back through a function that a gradient leaves out or scales.

    Args:
        subject: the function.
        given: the gradient, as one vector.
        expected: the derivative, likewise.
        rounding: largest residual that rounding can make, relative.
    """
    bent = find_bent(Paths(subject, expected.size), given, expected, rounding)
    if bent is None:
        return None
    factor = abs(bent.factor)
    steps = [subject.listing.steps[edge.step] for edge in bent.edges]
    seen = dict.fromkeys(f"{s.equation.primitive.name}{place(s)}" for s in steps)
    through = " and ".join(seen)
    if factor <= 10 * rounding:
        words = (
            f"the derivative without the term that flows back through {through}, as if "
            "it were detached there"
        )
        if all(_is_penalty(subject.listing, edge) for edge in bent.edges):
            words += ": a penalty on the parameters alone"
    elif abs(bent.factor + 1) <= 10 * rounding:
        words = (
            "the derivative with the opposite sign of the term that flows back "
            f"through {through}"
        )
    else:
        words = (
            f"the derivative with {bent.factor:.6g} times the term that flows back "
            f"through {through}"
        )
        shape = steps[0].equation.invars[bent.edges[0].operand].aval.shape
        if any(np.isclose(factor, n, rtol=10 * rounding) for n in shape):
            words += ": a sum stands where the function takes the mean"
        elif any(np.isclose(factor * n, 1, rtol=10 * rounding) for n in shape):
            words += ": a mean stands where the function takes the sum"
    bend = distance(expected, given)
    return Blame(PATH, words, bent.residual, steps[0].file, steps[0].line, bend)


def find_bent(paths: Paths, given: Any, expected: Any, rounding: float) -> Bent | None:
    """The edges whose paths a gradient scales or leaves out, if that explains it.

    Edges that carry nothing, such as into a maximum that is taken off again, are taken
    for fixed in a second try, as people do who write a gradient by hand.

    Args:
        paths: of the function.
        given: the gradient, as one vector.
        expected: the derivative, likewise.
        rounding: largest residual that rounding can make, relative.
    """
    if not paths.groups:
        return None
    parts = paths.parts(expected)
    seen = _carry(parts, expected)
    found = _bent(paths, parts, seen, given, expected, rounding)
    if found is not None or not paths.mute(~seen):
        return found
    parts = paths.parts(expected)
    seen = _carry(parts, expected)
    return _bent(paths, parts, seen, given, expected, rounding)


def _carry(parts: Any, expected: Any) -> Any:
    """Which of the parts are a part of the derivative at all."""
    parts[~np.isfinite(parts).all(1)] = 0
    sizes = np.linalg.norm(parts, axis=1)
    return sizes > _SEEN * np.linalg.norm(expected)


def _bent(
    paths: Paths, parts: Any, seen: Any, given: Any, expected: Any, rounding: float
) -> Bent | None:
    missing = expected - given
    squares = np.einsum("ij,ij->i", parts, parts)
    along = np.divide(parts @ missing, squares, out=np.zeros(len(parts)), where=seen)
    size = np.linalg.norm(given) or np.linalg.norm(expected)
    left = np.linalg.norm(missing - along[:, None] * parts, axis=1) / size
    for number in np.flatnonzero(seen & (left <= rounding)):
        if len(paths.groups[number]) > 1 and abs(along[number] - 1) > rounding:
            continue  # over several edges it is no straight line in α
        return Bent(paths.groups[number], 1 - along[number], float(left[number]))
    return _two_left_out(paths, parts, seen, given, missing, rounding)


def _two_left_out(
    paths: Paths, parts: Any, seen: Any, given: Any, missing: Any, rounding: float
) -> Bent | None:
    """Two edges without which the derivative is the gradient."""
    numbers = np.flatnonzero(seen)
    kept = parts[numbers]
    products, onto = kept @ kept.T, kept @ missing
    squares = np.diag(products)
    gaps = (
        missing @ missing
        - 2 * (onto[:, None] + onto[None])
        + squares[:, None]
        + squares[None]
        + 2 * products
    )
    close = np.argwhere(np.triu(gaps <= 1e-6 * (missing @ missing), 1))
    for first, second in close[:4]:
        edges = paths.groups[numbers[first]] + paths.groups[numbers[second]]
        residual = distance(given, paths.without(edges))
        if residual <= rounding:
            return Bent(edges, 0.0, residual)
    return None


def _edges(listing: Listing, sources: Sequence[int]) -> list[Edge]:
    """Edges that the gradient flows over, one of each chain without fork or join."""
    moving, joined = set(sources), set(sources)
    uses: Counter[int] = Counter()
    found: list[tuple[Edge, int, bool]] = []
    for index, step in enumerate(listing.steps):
        flowing = [
            (number, atom)
            for number, atom in enumerate(step.inputs)
            if isinstance(atom, int)
            and atom in moving
            and _is_float(step.equation.invars[number])
        ]
        if flowing:
            moving.update(step.outputs)
        joins = len(flowing) > 1
        if joins:
            joined.update(step.outputs)
        uses.update(atom for _, atom in flowing)
        found += [(Edge(index, n), atom, joins) for n, atom in flowing]
    return [
        edge for edge, atom, joins in found if joins or uses[atom] > 1 or atom in joined
    ]


def _is_penalty(listing: Listing, edge: Edge) -> bool:
    """Whether an edge leads into a scalar term made of that one parameter alone."""
    step = listing.steps[edge.step]
    if step.inputs[edge.operand] not in listing.inputs:
        return False
    current = step.outputs[0]
    moving = {current}
    for later in listing.steps[edge.step + 1 :]:
        atoms = {atom for atom in later.inputs if isinstance(atom, int)}
        if not atoms & moving:
            continue
        if atoms - moving - set(listing.constants):
            shape = later.equation.outvars[0].aval.shape
            return shape == () and later.equation.primitive.name in ("add", "sub")
        moving.update(later.outputs)
    return False


def _is_float(variable: Any) -> bool:
    return bool(jnp.issubdtype(variable.aval.dtype, jnp.floating))


def _scaling(factors: dict[int, Any]) -> Edit:
    """The step as it is, what flows back to some of its operands scaled."""

    def edit(values: dict[int, Any], step: Step) -> list[Any]:
        operands = [read(values, atom) for atom in step.inputs]
        for number, factor in factors.items():
            operands[number] = _scaled(operands[number], factor)
        return compat.bind(step.equation, operands)

    return edit


@jax.custom_vjp
def _scaled(value: Any, factor: Any) -> Any:
    """The value; what flows back to it is multiplied by the factor."""
    return value


_scaled.defvjp(
    lambda value, factor: (value, factor),
    lambda factor, cotangent: (factor * cotangent, jnp.zeros_like(factor)),
)
