"""A traced gradient, evaluated in float64."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.gradcheck.point import Point, Vector
from nndiag.jaxprs import compat, precision, widening
from nndiag.jaxprs.widening import Reading

_EPS = 2.0**-52
_SAMPLES = 4


class Gradient:
    """A traced gradient of the checked leaves, as a function of the vector.

    Args:
        point: what the vector stands for.
        jaxpr: from the checked leaves (and, for a derivative along a direction, those
            of the direction) to one array for each.

    Attributes:
        eps: of its arithmetic: that of float64, but for what cannot be done in it.
    """

    def __init__(self, point: Point, jaxpr: Any) -> None:
        self.eps = precision.arithmetic(jaxpr)
        self._constants = tuple(compat.constants(jaxpr))
        inputs = len(compat.open_jaxpr(jaxpr).invars)

        def flat(
            vector: Any,
            beside: Any,
            blur: Any,
            constants: Any,
            exact: frozenset[float] | None,
        ) -> Any:
            fuzz = None if blur is None or exact is not None else _EPS
            reading = Reading(fuzz, exact, 0 if blur is None else blur)
            leaves = [*point.unflattened(vector), *point.unflattened(beside)][:inputs]
            found = widening.evaluate(jaxpr, leaves, reading, constants=constants)
            parts: list[Any] = []
            for leaf, part in zip(point.checked, found, strict=True):
                parts.append(jnp.real(part).reshape(-1))
                if leaf.is_complex:
                    parts.append(-jnp.imag(part).reshape(-1))
            return jnp.concatenate(parts).astype(jnp.float64)

        self._flat = jax.jit(flat, static_argnums=4)

    def __call__(self, vector: Vector, beside: Vector | None = None) -> Vector:
        """The gradient at `vector`.

        Args:
            vector: the point.
            beside: the direction, where the jaxpr takes one.
        """
        return self._evaluate(vector, beside, None)

    def blurs(self, vector: Vector, beside: Vector | None = None) -> Vector:
        """How rounding in float64 moves the gradient: samples of shape `(S, entries)`.

        Every rounding is given a pseudo-random relative error of 2⁻⁵²; for arithmetic
        with another ε, the samples grow in proportion.
        """
        return self._samples(vector, beside, None)

    def shifts(self, vector: Vector, exact: frozenset[float]) -> Vector:
        """How rounding of what stands in the program moves the gradient; as `blurs`.

        The 0.1 of a program in float32 is another number than that of one in float64.

        Args:
            vector: the point.
            exact: as in `nndiag.jaxprs.widening.Reading`.
        """
        return self._samples(vector, None, exact)

    def _samples(
        self, vector: Vector, beside: Vector | None, exact: frozenset[float] | None
    ) -> Vector:
        still = self(vector, beside)
        seeds = [0x5DEECE66D * n for n in range(1, _SAMPLES + 1)]
        moved = (self._evaluate(vector, beside, s, exact) for s in seeds)
        return np.stack([sample - still for sample in moved])

    def _evaluate(
        self,
        vector: Vector,
        beside: Vector | None,
        seed: int | None,
        exact: frozenset[float] | None = None,
    ) -> Vector:
        with jax.enable_x64(True):
            found = self._flat(
                jnp.asarray(vector),
                jnp.asarray(vector if beside is None else beside),
                None if seed is None else jnp.asarray(seed, jnp.int64),
                self._constants,
                exact,
            )
            return np.asarray(found)
