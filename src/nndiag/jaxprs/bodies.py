"""One table: how the higher-order primitives are entered.

A *body* is a jaxpr held in a parameter of an equation. Body inputs correspond to the
last operands of the equation, body outputs to its outputs, one to one (for `scan` up to
the leading axis of what is scanned over).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from nndiag.jaxprs import compat

Path = tuple[int, ...]
"""Where a body stands: the index of the equation and of the body in it, repeated."""

_ENTERED = {
    "jit": ("jaxpr",),
    "remat2": ("jaxpr",),
    "scan": ("jaxpr",),
    "cond": ("branches",),
    "shard_map": ("jaxpr",),
}
"""Primitives whose bodies are differentiated from the inside. A `custom_jvp_call` or
`custom_vjp_call` is not: its derivative is its own, whatever its body contains."""


class Body(NamedTuple):
    """One body of an equation.

    Attributes:
        number: its number among the equation's bodies.
        jaxpr: open or closed.
        operands: the atoms that are its inputs (for `scan`, those scanned over have
            one leading axis more).
    """

    number: int
    jaxpr: Any
    operands: list[Any]


def bodies(equation: Any) -> Iterator[Body]:
    """The bodies of `equation` that can be entered; none for most equations."""
    index = 0
    for name in _ENTERED.get(equation.primitive.name, ()):
        held = equation.params[name]
        for jaxpr in held if isinstance(held, tuple) else (held,):
            count = len(compat.open_jaxpr(jaxpr).invars)
            operands = equation.invars[len(equation.invars) - count :]
            yield Body(index, jaxpr, operands)
            index += 1


def rebuild(
    equation: Any, transform: Callable[[Body], Callable[..., list[Any]] | None]
) -> dict[str, Any]:
    """Parameters of `equation` with its bodies rewritten, signatures unchanged.

    Args:
        equation: an equation with bodies.
        transform: the new meaning of a body, a function of its inputs that returns
            its outputs, or `None` to leave it.

    Returns:
        The changed parameters, for `compat.bind`.
    """
    rewritten = {}
    for body in bodies(equation):
        function = transform(body)
        if function is None:
            rewritten[body.number] = body.jaxpr
        elif equation.primitive.name == "shard_map":
            rewritten[body.number] = compat.retrace_shards(equation, function)
        else:
            rewritten[body.number] = compat.retrace(body.jaxpr, function)
    changes: dict[str, Any] = {}
    index = 0
    for name in _ENTERED[equation.primitive.name]:
        held = equation.params[name]
        count = len(held) if isinstance(held, tuple) else 1
        parts = tuple(rewritten[index + i] for i in range(count))
        changes[name] = parts if isinstance(held, tuple) else parts[0]
        index += count
    return changes
