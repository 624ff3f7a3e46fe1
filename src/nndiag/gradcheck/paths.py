"""The path of the backward pass that a hand-written gradient forgets or bends.

The derivative is a sum over the ways back from the result to a parameter. Scaling what
flows back over one edge of the program, from the result of an equation to one of its
operands, by α changes it to G − (1 − α)·G_e, where G_e is the part that came over this
edge. So one gradient without the edge tells for every α what would come out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.gradcheck.comparing import distance
from nndiag.gradcheck.listing import Edit, Listing, Step, read
from nndiag.gradcheck.tracing import Traced
from nndiag.jaxprs import compat

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
        edges: one edge, or two that are both left out.
        factor: α; 0 where the paths are left out.
        residual: what is left unexplained, relative.
    """

    edges: tuple[Edge, ...]
    factor: float
    residual: float


class Paths:
    """The gradient of a program, taken apart by its edges; to be used within `wide`.

    Args:
        traced: the function, its first result the scalar.
        listing: of it.
        chosen: the arguments that it is differentiated by.
    """

    def __init__(self, traced: Traced, listing: Listing, chosen: Sequence[int]) -> None:
        self._traced, self._listing, self._chosen = traced, listing, chosen
        self.edges = _edges(listing, [listing.inputs[i] for i in chosen])

    def parts(self, expected: Any) -> Any:
        """For each edge what came over it, `(edges, entries)`.

        Args:
            expected: the derivative, as one vector.
        """
        room = max(1, _MOST_NUMBERS // max(1, expected.size))
        self.edges = self.edges[: min(_MOST_EDGES, room)]
        kept = 1 - np.eye(len(self.edges))
        without = jax.jit(lambda rows: jax.lax.map(self._gradient, rows))(kept)
        return expected - np.asarray(without)

    def gradient(self, scales: dict[Edge, float]) -> Any:
        """The gradient where what flows back over some edges is scaled."""
        return np.asarray(
            self._gradient(jnp.asarray([scales.get(e, 1.0) for e in self.edges]))
        )

    def _gradient(self, scales: Any) -> Any:
        by_step: dict[int, dict[int, Any]] = {}
        for number, edge in enumerate(self.edges):
            by_step.setdefault(edge.step, {})[edge.operand] = scales[number]
        edits = {step: _scaling(factors) for step, factors in by_step.items()}

        def loss(leaves: Sequence[Any]) -> Any:
            values = list(self._traced.values)
            for index, leaf in zip(self._chosen, leaves, strict=True):
                values[index] = leaf
            return self._listing.run(values, edits)[0][0]

        found = jax.grad(loss)([self._traced.values[i] for i in self._chosen])
        return jnp.concatenate([jnp.ravel(leaf) for leaf in found])


def find_bent(paths: Paths, given: Any, expected: Any, rounding: float) -> Bent | None:
    """The edges whose paths a gradient scales or leaves out, if that explains it.

    Args:
        paths: of the function.
        given: the gradient, as one vector.
        expected: the derivative, likewise.
        rounding: largest residual that rounding can make, relative.
    """
    if not paths.edges:
        return None
    parts = paths.parts(expected)
    parts[~np.isfinite(parts).all(1)] = 0
    missing = expected - given
    squares = np.einsum("ij,ij->i", parts, parts)
    seen = squares > (_SEEN * np.linalg.norm(expected)) ** 2
    along = np.divide(parts @ missing, squares, out=np.zeros(len(parts)), where=seen)
    size = np.linalg.norm(given) or np.linalg.norm(expected)
    left = np.linalg.norm(missing - along[:, None] * parts, axis=1) / size
    for number in np.flatnonzero(seen & (left <= rounding)):
        return Bent((paths.edges[number],), 1 - along[number], float(left[number]))
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
        edges = paths.edges[numbers[first]], paths.edges[numbers[second]]
        residual = distance(given, paths.gradient({edge: 0.0 for edge in edges}))
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
