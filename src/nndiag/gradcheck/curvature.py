"""Second order: is the Hessian symmetric, and are its products right."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.errors import ProgramError
from nndiag.gradcheck.gradients import Gradient
from nndiag.gradcheck.point import Vector, silent
from nndiag.gradcheck.program import Program

_EPS = 2.0**-49
_SAFETY = 64.0
_STEPS = 8.0 ** -np.arange(2, 9)


class Curvature(NamedTuple):
    """What was found of the Hessian.

    Attributes:
        error: largest asymmetry and error of a product, relative.
        bound: relative error that rounding and differences can make.
        note: why there is no answer, `""` if there is.
    """

    error: float | None
    bound: float
    note: str = ""

    @property
    def is_wrong(self) -> bool:
        """Whether the Hessian is no Hessian."""
        return self.error is not None and self.error > self.bound


def check_hessian(
    program: Program, gradient: Gradient | None, directions: list[Vector]
) -> Curvature:
    """Symmetry u·(Hv) = v·(Hu), and u·(Hv) against differences of the gradient.

    Hv is the gradient of g·v, reverse mode over reverse mode, so that functions with a
    `custom_vjp` are checked as well.

    Args:
        program: the function.
        gradient: its gradient by autodiff.
        directions: u and v in turn.
    """
    if gradient is None:
        return Curvature(None, 0.0, "no Hessian: the function has no reverse mode")
    try:
        product = _product(program)
    except ProgramError as error:
        return Curvature(None, 0.0, f"no Hessian: {error}")
    point, worst, allowed = program.point, 0.0, 0.0
    for u, v in zip(directions[::2], directions[1::2], strict=False):
        first, second = (
            float(u @ product(point.vector, v)),
            float(v @ product(point.vector, u)),
        )
        value, bound = _difference(gradient, point.vector, u, v)
        size = np.linalg.norm(u) * np.linalg.norm(product(point.vector, v))
        size = max(float(size), abs(first), abs(second), abs(value), 1e-300)
        rounding = _EPS * size * len(u) ** 0.5
        if abs(first - second) > 2 * rounding or abs(first - value) > rounding + bound:
            blurs = product.blurs(point.vector, v)
            rounding += _SAFETY * float(np.abs(blurs @ u).max())
        for error, room in (
            (abs(first - second), 2 * rounding),
            (abs(first - value), rounding + bound),
        ):
            # The pair that sticks out most decides.
            if error / max(room, 1e-300) >= worst / max(allowed, 1e-300):
                worst, allowed = error / size, room / size
    return Curvature(worst, allowed)


def _product(program: Program) -> Gradient:
    """Hv as a function of x and v."""
    point = program.point
    arrays = [jnp.asarray(array) for array in point.arrays]
    count = len(arrays)
    numbers = tuple(range(count))

    def push(*values: jax.Array) -> tuple[jax.Array, ...]:
        primals, tangents = values[:count], values[count:]

        def slope(*inputs: jax.Array) -> jax.Array:
            found = jax.grad(program.scalar, argnums=numbers)(*inputs)
            pairs = zip(found, tangents, strict=True)
            return sum((jnp.real(jnp.sum(g * t)) for g, t in pairs), jnp.zeros(()))

        return jax.grad(slope, argnums=numbers)(*primals)

    return Gradient(point, silent(program.trace(push, *arrays, *arrays)))


def _difference(
    gradient: Gradient, vector: Vector, u: Vector, v: Vector
) -> tuple[float, float]:
    """(u·g(x + hv) − u·g(x − hv)) / 2h and its error, at the best steps."""
    quotients = [
        float(u @ (gradient(vector + h * v) - gradient(vector - h * v))) / (2 * h)
        for h in _STEPS
    ]
    noise = 2.0**-50 * abs(float(np.abs(u) @ np.abs(gradient(vector))))
    best = (quotients[-1], np.inf)
    for k in range(2, len(quotients)):
        a, b, c = quotients[k - 2 : k + 1]
        bound = 2 * max(abs(c - b), abs(b - a) / 8) + noise / _STEPS[k]
        if bound < best[1]:
            best = (c, bound)
    return best
