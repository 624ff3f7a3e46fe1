"""From an equation to the place in the user's source that made it."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from nndiag.jaxprs import compat

_TRANSFORM = re.compile(r"^(?:jvp|vmap|transpose|jit|pjit|checkpoint|rematted_computation)"
                        r"\((.*)\)$")


class Location(NamedTuple):
    """Where an equation comes from.

    Attributes:
        scope: the `jax.named_scope` path, without transforms, `""` if none.
        file: the user's source file, `""` if unknown.
        line: the line in `file`, 0 if unknown.
    """

    scope: str
    file: str
    line: int


def locate(equation: Any, outer: str = "") -> Location:
    """The location of `equation`; `outer` is the scope of the jaxpr around it."""
    return Location(join(outer, scope_of(equation)), *compat.user_frame(equation))


def scope_of(equation: Any) -> str:
    """The scope of `equation` within its own jaxpr, without transforms.

    `jvp(hidden_1)` and `transpose(jvp(hidden_1))` are both `hidden_1`.
    """
    parts = str(equation.source_info.name_stack).split("/")
    return "/".join(filter(None, map(_strip, parts)))


def join(outer: str, inner: str) -> str:
    """Scope `inner` seen from outside `outer`."""
    return "/".join(filter(None, (outer, inner)))


def _strip(part: str) -> str:
    while match := _TRANSFORM.match(part):
        part = match.group(1)
    return part
