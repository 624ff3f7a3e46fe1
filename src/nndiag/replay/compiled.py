"""Finds what only the compiled program gets wrong: a rewrite or fusion of the compiler.

The program is flattened; ever shorter beginnings of it are compiled, and by halving the
shortest is found that puts out a NaN or Inf where evaluation equation by equation has
none. Its last equation is to blame.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from nndiag.errors import ProgramError
from nndiag.jaxprs import compat
from nndiag.records import Autopsy
from nndiag.replay.context import Context
from nndiag.replay.detection import host, is_finite, is_float
from nndiag.replay.entering import wrapped
from nndiag.replay.interpreting import finish, interpret
from nndiag.replay.provenance import Event
from nndiag.replay.reporting import birth_of, describe
from nndiag.replay.tracing import Program
from nndiag.replay.walking import Frame


def find(program: Program, notes: Sequence[str]) -> Autopsy | None:
    """The equation whose compiled form makes a NaN or Inf, `None` if none does.

    Raises:
        ProgramError: two runs of the compiled program differ.
    """
    run = jax.jit(lambda *leaves: run_jaxpr(program.jaxpr, leaves))
    outputs = run(*program.leaves)
    if _differ(outputs, run(*program.leaves)):
        raise ProgramError(
            "the function is not deterministic: two runs at the same arguments differ; "
            "pass what varies (random numbers, the answers of a callback) in as "
            "arguments"
        )
    bad = [number for number, value in enumerate(outputs) if not is_finite(value)]
    if not bad:
        return None
    flat = jax.make_jaxpr(lambda *leaves: _inlined(program.jaxpr, leaves))(
        *program.leaves
    )
    variable, value = _shortest(flat, program.leaves)
    frame = Frame(flat, program.leaves, Context())
    made = frame.maker(variable)
    if made is None:
        return None
    equation, operands = made
    result = host(value)
    kind = "nan" if np.isnan(result).any() else "inf"
    event = Event(
        kind=kind,
        equation=equation,
        operands=tuple(host(v) if is_float(v) else v for v in operands),
        result=result,
        bad=np.isnan(result) if kind == "nan" else np.isinf(result),
        context=Context(),
        maker=frame.maker,
    )
    found = describe(
        birth_of(event),
        reaches_output=True,
        output=program.outputs[bad[0]],
        notes=notes,
    )
    name = equation.primitive.name
    word = "NaN" if kind == "nan" else "Inf"
    return dataclasses.replace(
        found,
        compiler=True,
        cause=(
            f"Only the compiled program makes {word} in this {name}; evaluated "
            "equation by equation the same operands give a finite result. The "
            "compiler rewrote it or fused it with equations around it."
        ),
        rewrite=(
            "bring the operands into range before this line, or keep the compiler "
            "from joining it with the lines before: jax.lax.optimization_barrier(x)"
        ),
    )


def spoilt(program: Program) -> set[int]:
    """Numbers of the outputs in which the compiled program has a NaN or Inf."""
    outputs = jax.jit(lambda *leaves: run_jaxpr(program.jaxpr, leaves))(*program.leaves)
    return {number for number, value in enumerate(outputs) if not is_finite(value)}


def run_jaxpr(jaxpr: Any, leaves: Sequence[Any]) -> list[Any]:
    """The outputs of a closed jaxpr, as JAX evaluates it."""
    return finish(interpret(jaxpr, leaves))


def _inlined(jaxpr: Any, leaves: Sequence[Any]) -> list[Any]:
    """The same with `jit` and custom derivatives replaced by what they hold."""

    def apply(equation: Any, operands: list[Any]) -> list[Any]:
        body = wrapped(equation)
        if body is None:
            return compat.bind(equation, operands)
        with compat.source(equation):
            return _inlined(body, operands)

    return finish(interpret(jaxpr, leaves, apply))


def _differ(first: Sequence[Any], second: Sequence[Any]) -> bool:
    return any(
        not np.array_equal(host(a), host(b), equal_nan=is_float(a))
        for a, b in zip(first, second, strict=True)
        if isinstance(a.dtype, np.dtype)
    )


def _shortest(flat: Any, leaves: Sequence[Any]) -> tuple[Any, Any]:
    """The variable that the shortest failing beginning spoils, and its value."""
    inner = compat.open_jaxpr(flat)
    sound = _sound_variables(flat, leaves)
    low, high = 0, len(inner.eqns)
    found = _beginning(flat, leaves, high, sound)
    while high - low > 1:
        middle = (low + high) // 2
        bad = _beginning(flat, leaves, middle, sound)
        if bad is None:
            low = middle
        else:
            high, found = middle, bad
    assert found is not None
    return found


def _sound_variables(flat: Any, leaves: Sequence[Any]) -> set[Any]:
    """The variables that are finite when evaluated equation by equation."""
    return {
        variable
        for equation, outputs in interpret(flat, leaves)
        for variable, value in zip(equation.outvars, outputs, strict=True)
        if is_finite(value)
    }


def _beginning(
    flat: Any, leaves: Sequence[Any], count: int, sound: set[Any]
) -> tuple[Any, Any] | None:
    """A variable that the first `count` equations spoil when compiled; its value."""
    inner = compat.open_jaxpr(flat)
    later = {
        atom
        for equation in inner.eqns[count:]
        for atom in equation.invars
        if not compat.is_literal(atom)
    } | {atom for atom in inner.outvars if not compat.is_literal(atom)}
    alive = [
        variable
        for equation in inner.eqns[:count]
        for variable in equation.outvars
        if variable in later and variable in sound
    ]

    def begin(*arguments: Any) -> list[Any]:
        made: dict[Any, Any] = {}
        for equation, outputs in itertools.islice(interpret(flat, arguments), count):
            made.update(zip(equation.outvars, outputs, strict=True))
        return [made[variable] for variable in alive]

    values = jax.jit(begin)(*leaves)
    pairs = zip(alive, values, strict=True)
    return next(((v, value) for v, value in pairs if not is_finite(value)), None)
