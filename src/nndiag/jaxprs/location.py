"""From an equation to the place in the user's source that made it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from nndiag.jaxprs import compat
from nndiag.records import INDEX

_TRANSFORM = re.compile(r"^(?:jvp|vmap|transpose|jit|checkpoint)\((.*)\)$")
_NNDIAG = str(Path(__file__).parents[1])
_PACKAGES = "site-packages/"
_LIBRARIES = ("optax/", "flax/", "equinox/", "haiku/")


class Location(NamedTuple):
    """Where an equation comes from.

    Attributes:
        scope: the `jax.named_scope` path, without transforms, `""` if none.
        file: the user's source file, relative to the working directory or to the
            installed packages where it lies in one of them; `""` if unknown.
        line: the line in `file`, 0 if unknown.
    """

    scope: str
    file: str
    line: int


def locate(equation: Any, outer: str = "") -> Location:
    """The location of `equation`; `outer` is the scope of the jaxpr around it."""
    return Location(join(outer, scope_of(equation)), *_user_line(equation))


def scope_of(equation: Any) -> str:
    """The scope of `equation` within its own jaxpr, without transforms.

    `jvp(hidden_1)` and `transpose(jvp(hidden_1))` are both `hidden_1`.
    """
    parts = str(equation.source_info.name_stack).split("/")
    return "/".join(filter(None, map(_strip, parts)))


def join(outer: str, inner: str) -> str:
    """Scope `inner` seen from outside `outer`.

    Libraries name a layer of a scan again inside of it.

    Example:
        >>> join("net", "dense"), join("net/block[*]", "block/dense")
        ('net/dense', 'net/block[*]/dense')
    """
    first, _, rest = inner.partition("/")
    if first and f"/{outer}".endswith(f"/{first}{INDEX}"):
        inner = rest
    return "/".join(filter(None, (outer, inner)))


def _strip(part: str) -> str:
    while match := _TRANSFORM.match(part):
        part = match.group(1)
    return part


def _user_line(equation: Any) -> tuple[str, int]:
    """The innermost line that is neither JAX's, nndiag's nor a layer library's."""
    frames = [
        (_shorten(file), line)
        for file, line in compat.user_frames(equation)
        if not file.startswith(_NNDIAG)
    ]
    own = [frame for frame in frames if not frame[0].startswith(_LIBRARIES)]
    return next(iter(own or frames), ("", 0))


def _shorten(file: str) -> str:
    if _PACKAGES in file:
        return file.rpartition(_PACKAGES)[2]
    path = Path(file)
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else file
