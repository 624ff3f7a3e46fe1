"""What a replay found: the equation that made the first NaN or Inf, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nndiag.errors import NndiagError

Kind = Literal["nan", "inf"]
Direction = Literal["forward", "backward"]


@dataclass(frozen=True, kw_only=True)
class Operand:
    """An array that went into or came out of the offending equation.

    Attributes:
        dtype: such as ``"float32"``.
        shape: of the array; in a mapped function, of one lane's stack.
        low: smallest finite value, NaN if there is none.
        high: largest finite value, NaN if there is none.
        nans: number of elements that are NaN.
        infs: number of elements that are infinite.
        values: the values at the offending elements, in the order of
            `Autopsy.elements`; of an operand only if the equation works element by
            element, else empty.
    """

    dtype: str
    shape: tuple[int, ...]
    low: float
    high: float
    nans: int = 0
    infs: int = 0
    values: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Link:
    """One equation on the way from the origin to the visible symptom.

    Attributes:
        kind: what it handed on.
        primitive: such as ``"exp"``.
        direction: whether it belongs to the forward or the backward pass.
        file: the user's source file, ``""`` if unknown.
        line: the line in it, 0 if unknown.
        path: into control flow, as in `Autopsy`.
    """

    kind: Kind
    primitive: str
    direction: Direction
    file: str
    line: int
    path: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Autopsy:
    """The first offending equation of a program, and the story around it.

    Attributes:
        kind: whether it made a NaN or an Inf.
        primitive: its primitive, ``"input"`` if the fault came in as an argument.
        file: the user's source file, relative to the working directory if it lies
            there, ``""`` if unknown.
        line: the line in `file`, 0 if unknown.
        column: the column in that line, from 1, 0 if unknown.
        source: that line of source, stripped, ``""`` if it cannot be read.
        indent: number of characters stripped from the left of `source`, so that
            `column` points into it; `None` if unknown.
        direction: ``"forward"`` or ``"backward"``.
        scope: its `jax.named_scope` path, without transforms.
        path: the control flow around it, outermost first: ``("scan[7]",
            "cond.branch1")``; iterations count from 0, as the user's index does.
        elements: index tuples of the first offending elements of the result, 16 at
            most; a mapped function's leading index is the lane.
        count: number of offending elements.
        operands: what went in.
        result: what came out.
        origin: the equation upstream that made the extreme value which this one fell
            over (the Inf that then met a 0), `None` if there is none.
        chain: from the origin to the symptom.
        reaches_output: whether a NaN or Inf that comes from it is in the output.
        output: path of the first output leaf it reaches, such as ``"[0]['w']"``.
        argument: path of the argument's leaf if the input itself was bad
            (``"params['w']"``), else ``""``.
        cause: why, in a sentence or two, with the numbers.
        rewrite: the line to write instead, or what to do, ``""`` if nothing is known.
        compiler: whether only the compiled program fails, so that a rewrite or fusion
            of the compiler is involved.
        notes: what the replay could not enter or had to assume.
        values: the replayed arrays by name (``operand_0`` …, ``result``).
        reproduction: writes the script and data of `reproduce`; `None` once the
            autopsy was stored.
    """

    kind: Kind
    primitive: str
    file: str
    line: int
    column: int
    source: str
    direction: Direction
    scope: str
    path: tuple[str, ...]
    elements: tuple[tuple[int, ...], ...]
    count: int
    operands: tuple[Operand, ...]
    result: Operand
    origin: Autopsy | None = None
    chain: tuple[Link, ...] = ()
    reaches_output: bool = True
    output: str = ""
    argument: str = ""
    cause: str = ""
    rewrite: str = ""
    compiler: bool = False
    notes: tuple[str, ...] = ()
    indent: int | None = None
    values: Mapping[str, Any] = field(
        default_factory=lambda: dict[str, Any](), compare=False, repr=False
    )
    reproduction: Callable[[Path], Path] | None = field(
        default=None, compare=False, repr=False
    )

    def __str__(self) -> str:
        """What happened, where, why and what to write, in a few lines."""
        where = f"{self.file}:{self.line}:{self.column}" if self.file else "the program"
        made = {"nan": "NaN", "inf": "Inf"}[self.kind]
        if self.argument:
            lines = [f"{self.argument} came in with {made}"]
        else:
            inside = f", in {' / '.join(self.path)}" if self.path else ""
            lines = [
                f"{self.primitive} at {where} made {made} ({self.direction} pass"
                f"{inside}; {self.count} elements, first {list(self.elements[0])})"
                if self.elements
                else f"{self.primitive} at {where} made {made}",
                f"    {self.source}",
            ]
        lines.append(f"Why: {self.cause}")
        if self.rewrite:
            lines += ["Write instead:", *(f"    {x}" for x in self.rewrite.split("\n"))]
        if not self.reaches_output:
            lines.append("No output shows it.")
        return "\n".join(lines)

    def reproduce(self, directory: str | Path) -> Path:
        """Writes a script and its data that repeat the failure without the user's code.

        Args:
            directory: is made if it does not exist.

        Returns:
            The path of the script; ``python SCRIPT`` shows the failing outputs.

        Raises:
            NndiagError: the autopsy was read from a file, so the program is not at
                hand.
        """
        if self.reproduction is None:
            raise NndiagError(
                "this autopsy was read from a file and no longer holds its program; "
                "repeat it with `nndiag autopsy RUN` or `nndiag.autopsy(fn, ...)`"
            )
        return self.reproduction(Path(directory))
