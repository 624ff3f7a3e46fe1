"""The gradient under test: of the program itself, or what a user's function returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np

from nndiag.errors import ProgramError
from nndiag.gradcheck.gradients import Gradient
from nndiag.gradcheck.matching import match
from nndiag.gradcheck.point import Point, Vector, silent
from nndiag.gradcheck.program import Program, explained

_FLOAT64 = 2.0**-52


class Values(NamedTuple):
    """A gradient at one point.

    Attributes:
        vector: its elements, float64.
        eps: of the arithmetic that made them.
    """

    vector: Vector
    eps: float


class Given:
    """The gradient under test.

    Attributes:
        own: the gradient as the user gets it, in its own dtypes, as a vector.
        values: the same in float64 where the function can be run so.
        is_callers: whether the user gave a function.
    """

    is_callers = False

    def __init__(self, program: Program) -> None:
        self.point = program.point
        self.own = self._own(program)
        _require_finite(self.own, program, self.point)
        self.gradient = self._traced(program)
        self.values = self.at(self.point.vector)

    def _own(self, program: Program) -> Vector:
        arrays = self.point.arrays
        jaxpr = program.trace(self._differentiated(program), *arrays)
        self._jaxpr = silent(jaxpr)
        found = jax.jit(jax.extend.core.jaxpr_as_fun(self._jaxpr))(*arrays)
        return self.point.flat_all(found, gradient=True)

    def _differentiated(self, program: Program) -> Callable[..., Any]:
        numbers = tuple(range(len(self.point.checked)))
        return jax.grad(program.scalar, argnums=numbers)

    def _traced(self, program: Program) -> Gradient | None:
        return Gradient(self.point, self._jaxpr)

    def at(self, vector: Vector) -> Values:
        """The gradient at a vector whose elements the leaves' dtypes can hold."""
        assert self.gradient is not None
        return Values(self.gradient(vector), self.gradient.eps)


class CallersGiven(Given):
    """A gradient that a user's function returns."""

    is_callers = True

    def __init__(self, program: Program, gradient: Callable[..., Any]) -> None:
        self._function = gradient
        self._name = getattr(gradient, "__name__", type(gradient).__name__)
        self._wide = False
        super().__init__(program)

    def _own(self, program: Program) -> Vector:
        arrays = self.call(self.point.in_dtypes(self.point.vector))
        again = self.call(self.point.in_dtypes(self.point.vector))
        if not all(map(_are_alike, arrays, again)):
            raise ProgramError(
                f"{self._name} is not deterministic: called twice with the same "
                "arguments it returns two gradients; pass what varies (a random key) "
                "in as an argument, and let nothing be added to an earlier result"
            )
        # What was computed in float32 on the way may well come out as float64.
        self._eps = max(*map(_eps, arrays), *map(self.point.eps, self.point.checked))
        return self.point.flat_all(arrays, gradient=True)

    def call(self, arrays: Sequence[Any], *, wide: bool = False) -> list[np.ndarray]:
        """What the function returns at other values of the checked leaves."""
        args, kwargs = self.point.rebuilt(arrays)
        if wide:
            args, kwargs = jax.tree.map(_wide, (args, kwargs))
        try:
            found = self._function(*args, **kwargs)
        except Exception as error:
            raise explained(self._name, error) from None
        return [np.asarray(value) for value in match(found, self.point, self._name)]

    def _traced(self, program: Program) -> Gradient | None:
        def function(*arrays: Any) -> Any:
            args, kwargs = self.point.rebuilt(arrays)
            found = match(self._function(*args, **kwargs), self.point, self._name)
            return [jnp.asarray(value) for value in found]

        try:
            jaxpr = silent(jax.make_jaxpr(function)(*self.point.arrays))
        except Exception:
            self._try_wide()
            return None
        return Gradient(self.point, jaxpr)

    def _try_wide(self) -> None:
        """Uses float64 if the function computes in what it is given."""
        try:
            wide = self.call(
                self.point.in_dtypes(self.point.vector, wide=True), wide=True
            )
        except ProgramError:
            return
        vector = self.point.flat_all(wide, gradient=True)
        apart = np.linalg.norm(vector - self.own)
        near = 1e4 * self._eps * np.linalg.norm(self.own)
        if max(map(_eps, wide)) <= _FLOAT64 and apart <= near:
            self._wide, self._eps = True, _FLOAT64

    def at(self, vector: Vector) -> Values:
        """The gradient at a vector whose elements the leaves' dtypes can hold."""
        if self.gradient is not None:
            return Values(self.gradient(vector), self.gradient.eps)
        arrays = self.point.in_dtypes(vector, wide=self._wide)
        found = self.call(arrays, wide=self._wide)
        return Values(self.point.flat_all(found, gradient=True), self._eps)


def _are_alike(first: Any, second: Any) -> bool:
    """Whether two gradients differ by rounding at most."""
    size = np.abs(first).max(initial=0.0)
    apart = np.abs(np.asarray(first) - np.asarray(second)).max(initial=0.0)
    return not apart > 64 * _eps(first) * size


def _eps(array: Any) -> float:
    # Not `jnp.result_type`: it takes float64 for float32 where x64 is off.
    inexact = jnp.issubdtype(array.dtype, np.inexact)
    return float(jnp.finfo(array.dtype).eps) if inexact else _FLOAT64


def _wide(value: Any) -> Any:
    if not isinstance(value, jax.Array | np.ndarray | np.generic):
        return value
    if not jnp.issubdtype(value.dtype, jnp.inexact):
        return value
    kind = np.complex128 if jnp.iscomplexobj(value) else np.float64
    return np.asarray(value).astype(kind)


def _require_finite(vector: Vector, program: Program, point: Point) -> None:
    for leaf in point.checked:
        part = vector[leaf.start : leaf.stop]
        if not np.isfinite(part).all():
            kind = "NaN" if np.isnan(part).any() else "Inf"
            raise ProgramError(
                f"the gradient by {leaf.path} holds a {kind} at this point; "
                f"nndiag.autopsy(jax.grad({program.name}), ...) finds its origin"
            )
