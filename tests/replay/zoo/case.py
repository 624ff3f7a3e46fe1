"""One program of the zoo, and the truth about it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Where the first offending equation of a program stands, and what it made.

    Attributes:
        kind: `"nan"` or `"inf"`.
        primitive: of the offending equation.
        line: of the source, in the case's file.
        path: into control flow.
        direction: `"forward"` or `"backward"`.
        element: the first offending element.
        origin: primitive of the equation upstream that made the Inf, `""` for none.
        origin_line: its line; 0 for none.
        reaches: whether the output is bad.
        argument: the path of the leaf if the input itself is bad.
        cause: pieces of text that the cause must hold.
        rewrite: the line to write instead, `""` where it is not checked.
    """

    kind: str
    primitive: str
    line: int
    path: tuple[str, ...] = ()
    direction: str = "forward"
    element: tuple[int, ...] = ()
    origin: str = ""
    origin_line: int = 0
    reaches: bool = True
    argument: str = ""
    cause: tuple[str, ...] = ()
    rewrite: str = ""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A program with its arguments; `truth` is `None` if there is nothing to find."""

    name: str
    program: Callable[..., Any]
    given: tuple[Any, ...]
    truth: Truth | None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def arguments(self) -> tuple[Any, ...]:
        """Fresh JAX arrays, as a program may be given them to keep (donation)."""
        return jax.tree.map(jnp.array, self.given)

    @property
    def file(self) -> Path:
        """The source file of the program."""
        return Path(inspect.getsourcefile(inspect.unwrap(self.program)) or "")


CASES: list[Case] = []


def sick(
    *arguments: Any, options: dict[str, Any] | None = None, **truth: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds a program whose offending line carries the comment ``# here``.

    A line with ``# origin`` is that of the origin; without one it is the same line.
    """

    def add(program: Callable[..., Any]) -> Callable[..., Any]:
        line = _line(program, "# here")
        if truth.get("origin"):
            truth["origin_line"] = _line(program, "# origin") or line
        if truth["primitive"] == "input":
            line = 0
        CASES.append(
            Case(
                name=program.__name__,
                program=program,
                given=arguments,
                truth=Truth(line=line, **truth),
                options=options or {},
            )
        )
        return program

    return add


def sound(
    *arguments: Any, **options: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds a program in which there is nothing to find."""

    def add(program: Callable[..., Any]) -> Callable[..., Any]:
        CASES.append(
            Case(
                name=program.__name__,
                program=program,
                given=arguments,
                truth=None,
                options=options,
            )
        )
        return program

    return add


def single(*values: Any) -> np.ndarray:
    """Numbers as float32."""
    return np.array(values, np.float32)


def half(*values: Any) -> np.ndarray:
    """Numbers as float16."""
    return np.array(values, np.float16)


def _line(program: Callable[..., Any], marker: str) -> int:
    lines, first = inspect.getsourcelines(inspect.unwrap(program))
    found = [i for i, line in enumerate(lines) if line.rstrip().endswith(marker)]
    return first + found[0] if found else 0
