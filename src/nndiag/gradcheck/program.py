"""The function under test as a program of one vector, evaluated in float64."""

from __future__ import annotations

import functools
import inspect
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.errors import ProgramError
from nndiag.gradcheck.point import Point, Vector, silent
from nndiag.jaxprs import compat, precision, widening

_HERE = str(Path(__file__).parents[1])
_JAX = str(Path(inspect.getfile(jax)).parent)
_ROOM = 2**24
"""Elements of intermediate arrays that may be held at once, 128 MiB of float64."""
_TOGETHER = 16
RULES = frozenset({"custom_jvp_call", "custom_vjp_call"})
"""Primitives with derivatives of their own."""


class Program:
    """A scalar function of the checked leaves, traced in the user's own dtypes.

    Attributes:
        function: the user's.
        point: where it is checked.
        name: of the function.
        jaxpr: of the function.
        evaluations: of the function so far.
        value: at the point, in float64.
    """

    def __init__(self, fn: Callable[..., Any], point: Point, *, has_aux: bool) -> None:
        self.function, self.point, self.has_aux = fn, point, has_aux
        self.name = getattr(fn, "__name__", type(fn).__name__)
        self.evaluations = 0
        traced = self.trace(self.scalar, *point.arrays, require=_require_scalar)
        self.jaxpr = silent(traced)
        nowhere = np.zeros_like(point.vector)
        self.value, again = map(float, self.along(nowhere, np.zeros(2)))
        if self.value != again and self.value == self.value:
            raise _varying(self.name, self.value, again)
        if not np.isfinite(self.value):
            raise ProgramError(
                f"{self.name} is {self.value} at this point, so it has no gradient "
                f"there; nndiag.autopsy({self.name}, ...) finds where that comes from"
            )

    def scalar(self, *arrays: Any) -> Any:
        """The user's function of the checked leaves alone, without its auxiliaries."""
        args, kwargs = self.point.rebuilt(arrays)
        result = self.function(*args, **kwargs)
        return result[0] if self.has_aux else result

    def trace(
        self,
        function: Callable[..., Any],
        *arrays: Any,
        require: Callable[[Any], None] | None = None,
    ) -> Any:
        """The closed jaxpr of `function`; what it raises becomes a `ProgramError`."""
        try:
            with compat.lines_of_rules():
                traced, shape = jax.make_jaxpr(
                    lambda *values: function(*values), return_shape=True
                )(*arrays)
        except ProgramError:
            raise
        except Exception as error:
            raise explained(self.name, error) from None
        if require is not None:
            require(shape)
        return traced

    def require_deterministic(self) -> None:
        """Raises if the function, traced anew, is another one.

        Raises:
            ProgramError: with the two values.
        """
        traced = self.trace(self.scalar, *self.point.arrays)
        jaxpr = silent(traced)
        pairs = zip(compat.constants(jaxpr), compat.constants(self.jaxpr), strict=False)
        same = all(_equal(a, b) for a, b in pairs)
        if same and _literals(jaxpr) == _literals(self.jaxpr):
            return
        again = Program(self.function, self.point, has_aux=self.has_aux).value
        if abs(again - self.value) > 2.0**-46 * max(abs(again), abs(self.value)):
            raise _varying(self.name, self.value, again)

    @functools.cached_property
    def equations(self) -> list[Any]:
        """All equations, those of bodies included."""
        return list(every_equation(self.jaxpr))

    @functools.cached_property
    def numbers(self) -> frozenset[float]:
        """The numbers that stand in it, 0 among them in any case."""
        scalars = (n for n in _literals(self.jaxpr) if isinstance(n, int | float))
        return frozenset({0.0, *map(float, scalars)})

    @functools.cached_property
    def dtypes(self) -> frozenset[str]:
        """The dtypes of all that it computes."""
        values = (v.aval for e in self.equations for v in e.outvars)
        return frozenset(str(getattr(aval, "dtype", "")) for aval in values)

    @functools.cached_property
    def is_opaque(self) -> bool:
        """Whether a part of it could not be evaluated in float64."""
        return any(
            equation.primitive.name in precision.OPAQUE
            and any(
                jnp.issubdtype(getattr(v.aval, "dtype", np.int32), jnp.inexact)
                for v in equation.invars
            )
            for equation in self.equations
        )

    def first(self, primitive: str) -> Any:
        """The first equation of that name, `None` if there is none."""
        named = (e for e in self.equations if e.primitive.name == primitive)
        return next(named, None)

    @functools.cached_property
    def has_rules(self) -> bool:
        """Whether it contains functions with derivatives of their own."""
        return any(equation.primitive.name in RULES for equation in self.equations)

    def along(
        self, direction: Vector, steps: Vector, base: Vector | None = None
    ) -> Vector:
        """Values at the point (or `base`) plus each of `steps` times `direction`."""
        self.evaluations += len(steps)
        with jax.enable_x64(True):
            values = self._along(
                jnp.asarray(self.point.vector if base is None else base),
                jnp.asarray(direction),
                jnp.asarray(steps),
                tuple(compat.constants(self.jaxpr)),
            )
            return np.asarray(values)

    def at(self, vector: Any, constants: Sequence[Any] | None = None) -> Any:
        """The value at a vector; traceable, with x64 enabled."""
        leaves = self.point.unflattened(vector)
        return widening.evaluate(self.jaxpr, leaves, constants=constants)[0]

    @functools.cached_property
    def _along(self) -> Any:
        return self.compiled(lambda vector, _, constants: self.at(vector, constants))

    def compiled(self, measure: Callable[[Any, Any, Any], Any]) -> Any:
        """`measure` at many points of a line at once, as far as memory allows.

        Args:
            measure: a number, from a point, the direction and the constants.

        Returns:
            A compiled function of a point, a direction, steps and the constants.
        """
        elements = sum(_size(v) for e in self.equations for v in e.outvars)
        elements += self.point.vector.size
        together = int(np.clip(_ROOM // elements, 1, _TOGETHER))

        def along(vector: Any, direction: Any, steps: Any, constants: Any) -> Any:
            def one(step: Any) -> Any:
                return measure(vector + step * direction, direction, constants)

            if self.is_opaque:
                # A callback need not know how to be mapped.
                return jax.lax.map(one, steps)
            if together == _TOGETHER:
                return jax.vmap(one)(steps)
            return jax.lax.map(one, steps, batch_size=together)

        return jax.jit(along)

    @functools.cached_property
    def slopes(self) -> Callable[[Vector], Vector] | None:
        """The gradient by autodiff in float64, custom rules left out.

        `None` if there is none (a while loop, a callback).
        """

        def gradient(vector: Any, constants: Any) -> Any:
            return jax.grad(self.at)(vector, constants)

        compiled, constants = jax.jit(gradient), tuple(compat.constants(self.jaxpr))

        def call(vector: Vector) -> Vector:
            with jax.enable_x64(True):
                return np.asarray(compiled(jnp.asarray(vector), constants))

        try:
            call(self.point.vector)
        except Exception:
            return None
        return call


def every_equation(jaxpr: Any) -> Iterator[Any]:
    """The equations of a jaxpr and of all bodies in it."""
    for equation in compat.open_jaxpr(jaxpr).eqns:
        yield equation
        for body in compat.jaxprs_in(equation):
            yield from every_equation(body)


def explained(name: str, error: Exception) -> ProgramError:
    """What the user's function raised, in one sentence."""
    text = (str(error).strip().splitlines() or [""])[0]
    where = next(
        (
            f" at {Path(frame.filename).name}:{frame.lineno}"
            for frame in reversed(traceback.extract_tb(error.__traceback__))
            if not frame.filename.startswith((_HERE, _JAX))
        ),
        "",
    )
    hint = ""
    if isinstance(error, jax.errors.TracerArrayConversionError):
        hint = "; a function is differentiated by JAX: write it with jax.numpy"
    return ProgramError(f"{name} raised {type(error).__name__}{where}: {text}{hint}")


def _varying(name: str, first: float, second: float) -> ProgramError:
    return ProgramError(
        f"{name} is not deterministic: two evaluations at the same point give "
        f"{first:.9g} and {second:.9g}; pass what varies (a random key, a mask) in as "
        "an argument"
    )


def _literals(jaxpr: Any) -> list[Any]:
    """The numbers that stand in a program, in order."""
    return [
        np.asarray(compat.literal(atom)).tolist()
        for equation in every_equation(jaxpr)
        for atom in equation.invars
        if compat.is_literal(atom)
    ]


def _equal(first: Any, second: Any) -> bool:
    if not isinstance(getattr(first, "dtype", None), np.dtype):
        return True
    return np.array_equal(np.asarray(first), np.asarray(second))


def _require_scalar(shape: Any) -> None:
    leaves = jax.tree.leaves(shape)
    if len(leaves) != 1 or jax.tree.structure(shape) != jax.tree.structure(0):
        pair = isinstance(shape, tuple) and len(shape) == 2
        hint = "; pass has_aux=True if it returns (value, auxiliary)" if pair else ""
        raise ProgramError(
            f"the function must return one number, not a {type(shape).__name__} of "
            f"{len(leaves)} arrays{hint}"
        )
    if leaves[0].shape != ():
        raise ProgramError(
            "the function must return one number, not an array of shape "
            f"{tuple(leaves[0].shape)}; return its sum or mean"
        )
    if not jnp.issubdtype(leaves[0].dtype, jnp.floating):
        raise ProgramError(
            "the function must return a real floating-point number, not "
            f"{leaves[0].dtype}"
        )


def _size(variable: Any) -> int:
    return int(np.prod(getattr(variable.aval, "shape", ())))
