"""Runs a loop compiled up to the next iteration that is worth a closer look.

Each iteration has a *pattern*: which equations of the body made a NaN or Inf, and
which inputs and outputs of the body hold one. The search stops before the first
iteration that shows any, unless its pattern has been seen, so that a loop in which the
same harmless thing happens ten thousand times is still crossed in a few runs.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.jaxprs import compat
from nndiag.replay import lanes
from nndiag.replay.detection import is_float
from nndiag.replay.flags import flagged

MEMORY = 24
"""Patterns that are remembered: iterations that are replayed one by one, at most."""


class Program(NamedTuple):
    """A loop without its values; two replays of one program share it.

    Attributes:
        body: from fixed values, carry and one row to the new carry and a row.
        condition: from `asked` values and carry to whether to go on; `None` for scan.
        fixed: number of fixed values.
        asked: number of values that only the condition reads.
        carried: number of carried values.
        length: number of iterations, `None` for while.
        reverse: whether rows are taken from the last to the first.
    """

    body: Any
    condition: Any
    fixed: int
    asked: int
    carried: int
    length: int | None
    reverse: bool


def describe(equation: Any) -> Program:
    """The loop of a `scan` or `while` equation."""
    params = equation.params
    if equation.primitive.name == "while":
        fixed, asked = params["body_nconsts"], params["cond_nconsts"]
        carried = len(equation.invars) - fixed - asked
        body, condition = params["body_jaxpr"], params["cond_jaxpr"]
        return Program(body, condition, fixed, asked, carried, None, False)
    fixed, carried = compat.scan_split(equation)
    length, reverse = params["length"], params["reverse"]
    return Program(params["jaxpr"], None, fixed, 0, carried, length, reverse)


class Stop(NamedTuple):
    """Where a search ended.

    Attributes:
        done: iterations done.
        carry: the carry before the iteration found, or at the end.
        pattern: of the iteration found.
        found: whether there is one; else the loop has ended.
    """

    done: int
    carry: list[Any]
    pattern: np.ndarray[Any, Any]
    found: bool


class Search:
    """The compiled search through one loop, from any iteration on.

    Args:
        program: the loop.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self._seen: list[np.ndarray[Any, Any]] = []

    def next(
        self,
        fixed: Sequence[Any],
        asked: Sequence[Any],
        rows: Sequence[Any],
        carry: Sequence[Any],
        index: int,
    ) -> Stop:
        """The first iteration from `index` on whose pattern is new."""
        births, width = _widths(self.program)
        seen = np.zeros((MEMORY, width), bool)
        for row, pattern in zip(seen, self._seen, strict=False):
            row[:] = pattern
        # What came of an iteration still tells apart when the memory runs short.
        mask = np.ones(width, bool)
        mask[:births] = len(self._seen) < MEMORY // 2
        mask &= len(self._seen) < MEMORY
        types = compat.open_jaxpr(self.program.body).invars[self.program.fixed :]
        carry = [
            compat.strong(value, variable.aval)
            for value, variable in zip(carry, types, strict=False)
        ]
        done, carry, pattern, found = _compiled(self.program)(
            list(fixed),
            list(asked),
            list(rows),
            carry,
            np.int32(index),
            seen,
            np.int32(len(self._seen)),
            mask,
        )
        stop = Stop(int(done), list(carry), np.asarray(pattern), bool(found))
        if stop.found:
            self._seen.append(stop.pattern)
        return stop


def _bad(values: Sequence[Any]) -> Any:
    marks = [
        test(value).any()
        for value in values
        if is_float(value)
        for test in (jnp.isnan, jnp.isinf)
    ]
    return jnp.stack(marks) if marks else jnp.zeros((0,), bool)


def _iterate(
    program: Program, arguments: Sequence[Any], going: Any = None
) -> tuple[Any, Any, Any]:
    """New carry, flags of births, and badness of what goes in and comes out."""
    outputs, births = flagged(program.body, arguments, going)
    if going is not None:
        outputs = [
            lanes.choose(going, new, old)
            for new, old in zip(outputs, arguments[program.fixed :], strict=True)
        ]
    return outputs[: program.carried], births, [_bad(arguments), _bad(outputs)]


@functools.lru_cache(maxsize=64)
def _widths(program: Program) -> tuple[int, int]:
    """Number of flags of births, and length of a pattern."""
    inputs = [
        jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype)
        for v in compat.open_jaxpr(program.body).invars
    ]
    births, marks = jax.eval_shape(lambda *a: _iterate(program, a)[1:], *inputs)
    return births.shape[0], births.shape[0] + sum(mark.shape[0] for mark in marks)


@functools.lru_cache(maxsize=64)
def _compiled(program: Program) -> Any:
    _, width = _widths(program)

    @jax.jit
    def search(
        fixed: Any,
        asked: Any,
        rows: Any,
        carry: Any,
        index: Any,
        seen: Any,
        count: Any,
        mask: Any,
    ) -> Any:
        def going(carry: Any) -> Any:
            return flagged(program.condition, [*asked, *carry])[0][0]

        def proceeds(state: Any) -> Any:
            index, carry, _, found = state
            if program.length is None:
                more = going(carry).any()
            else:
                more = index < program.length
            return ~found & more

        def step(state: Any) -> Any:
            index, carry, _, _ = state
            position = index
            if program.reverse and program.length is not None:
                position = program.length - 1 - index
            row = [
                jax.lax.dynamic_index_in_dim(r, position, keepdims=False) for r in rows
            ]
            alive = going(carry) if program.length is None else None
            fresh, births, marks = _iterate(program, [*fixed, *carry, *row], alive)
            pattern = jnp.concatenate([births, *marks])
            same = ((seen == pattern) | ~mask).all(axis=1)
            known = (same & (jnp.arange(MEMORY) < count)).any()
            stop = (births.any() | marks[0].any()) & ~known
            carry = [
                jax.lax.select(jnp.broadcast_to(stop, old.shape), old, new)
                for old, new in zip(carry, fresh, strict=True)
            ]
            return jnp.where(stop, index, index + 1), carry, pattern, stop

        start = (index, carry, jnp.zeros((width,), bool), jnp.zeros((), bool))
        return jax.lax.while_loop(proceeds, step, start)

    return search
