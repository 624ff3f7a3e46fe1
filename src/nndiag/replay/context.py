"""What is around an equation while it is replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from nndiag.jaxprs import compat
from nndiag.jaxprs.location import Location, join, locate, scope_of
from nndiag.replay.evaluating import evaluate

SHARD = "shard"
"""Part of a path that stands for a shard not yet known."""


class Context(NamedTuple):
    """What is around an equation.

    Attributes:
        path: into control flow.
        scope: of the jaxpr the equation is in.
        backward: whether the equations around it belong to a backward pass.
        bind: evaluates an equation here.
        mesh: shape of the mesh over whose shards all values are stacked.
        names: of the axes of the mesh.
        call: the equation that calls the function of JAX whose body this is.
        around: the equations whose bodies this is in, outermost first.
    """

    path: tuple[str, ...] = ()
    scope: str = ""
    backward: bool = False
    bind: Callable[[Any, Sequence[Any]], list[Any]] = evaluate
    mesh: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    call: Any = None
    around: tuple[Any, ...] = ()

    def inside(self, equation: Any, part: str = "") -> Context:
        """The context of the bodies of `equation`."""
        return self._replace(
            path=(*self.path, part) if part else self.path,
            scope=join(self.scope, scope_of(equation)),
            backward=self.is_backward(equation),
            call=self.call or (equation if compat.is_jax_function(equation) else None),
            around=(*self.around, equation),
        )

    def locate(self, equation: Any) -> tuple[Location, str, int]:
        """The location of `equation`, the full name of its file, and the column.

        A branch such as `jnp.log` itself is nobody's line: then the nearest equation
        around it that has one stands for it.
        """
        visible = equation if self.call is None else self.call
        candidates = (visible, *reversed(self.around))
        visible = next(filter(_has_file, candidates), visible)
        location = locate(visible)._replace(scope=join(self.scope, scope_of(equation)))
        return location, *compat.user_position(visible, location.file, location.line)

    def is_backward(self, equation: Any) -> bool:
        """Whether `equation` belongs to a backward pass."""
        return self.backward or "transpose(" in str(equation.source_info.name_stack)

    def stack(self, constant: Any) -> Any:
        """A literal or constant, the same in every shard."""
        if not self.mesh:
            return constant
        return np.broadcast_to(constant, (*self.mesh, *np.shape(constant)))


def _has_file(equation: Any) -> bool:
    return bool(locate(equation).file)
