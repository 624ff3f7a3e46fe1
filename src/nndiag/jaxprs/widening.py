"""Evaluates a program in float64, whatever the dtypes it was written in.

The program is the one that was traced in the user's own dtypes, so its random numbers,
its `jnp.finfo(x.dtype).eps` and its casts are those that ran; only the rounding is
gone. A primitive that exists in one dtype only (a callback, a kernel) is evaluated in
that one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.jaxprs import blurring, compat, stepping
from nndiag.jaxprs.precision import OPAQUE, wide, widen
from nndiag.jaxprs.primitives import WRAPPINGS

Observer = Callable[[Any, Sequence[Any]], Any]


class Reading(NamedTuple):
    """How a program is read.

    Attributes:
        fuzz: relative size of a pseudo-random error put on the result of every
            equation that rounds, an array so that it can be 0; `None` for no such
            errors in the program at all.
        exact: numbers for which another program has the same; `None` for all. On other
            numbers that stand in the program and that their dtype may have rounded,
            such as 0.1, an error of half a unit in the last place is put; if there are
            no exact ones at all, on arrays of data too.
        seed: of the errors, any int64.
        observe: sees each equation and its operands and returns a vector, `None` if
            it has nothing to say; the vectors are added up over the run.
        width: length of these vectors.
        stepped: whether floats may come as complex numbers x + ih, real parts values
            and imaginary ones a complex step.
    """

    fuzz: Any = None
    exact: frozenset[float] | None = None
    seed: Any = 0
    observe: Observer | None = None
    width: int = 0
    stepped: bool = False


def evaluate(
    jaxpr: Any,
    values: Sequence[Any],
    reading: Reading | None = None,
    *,
    constants: Sequence[Any] | None = None,
) -> list[Any]:
    """The outputs of a closed jaxpr at float64 (complex128) values; traceable.

    Must be called with x64 enabled (`jax.enable_x64`).

    Args:
        jaxpr: the program.
        values: one per input, floats in float64.
        reading: errors to inject.
        constants: the constants of the jaxpr, where they are arguments of a compiled
            function rather than part of it.
    """
    return _run(jaxpr, values, reading or Reading(), constants)[0]


def observed(
    jaxpr: Any,
    values: Sequence[Any],
    observe: Observer,
    width: int,
    *,
    constants: Sequence[Any] | None = None,
) -> tuple[list[Any], Any]:
    """The outputs, and the sum of what `observe` returned over all equations."""
    return _run(jaxpr, values, Reading(observe=observe, width=width), constants)


def _run(
    jaxpr: Any,
    values: Sequence[Any],
    reading: Reading,
    constants: Sequence[Any] | None = None,
) -> tuple[list[Any], Any]:
    inner = compat.open_jaxpr(jaxpr)
    held = dict(zip(inner.invars, values, strict=True))
    constants = compat.constants(jaxpr) if constants is None else constants
    for variable, constant in zip(inner.constvars, constants, strict=True):
        data = widen(constant)
        all_blurred = reading.exact is not None and not reading.exact
        if all_blurred and jnp.issubdtype(constant.dtype, jnp.floating):
            half = float(jnp.finfo(constant.dtype).eps) / 2
            data = blurring.blurred(data, half, reading.seed)
        held[variable] = data
    total = jnp.zeros(reading.width)

    def read(atom: Any) -> Any:
        if not compat.is_literal(atom):
            return held[atom]
        value = compat.literal(atom)
        exact = reading.exact
        if exact is not None and blurring.was_rounded(value, exact):
            half = float(jnp.finfo(value.dtype).eps) / 2
            return blurring.blurred(widen(value), half, reading.seed)
        return widen(value)

    for equation in inner.eqns:
        operands = [read(atom) for atom in equation.invars]
        outputs, seen = _evaluate(equation, operands, reading)
        if seen is not None:
            total = total + seen
        held.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in inner.outvars], total


def _evaluate(
    equation: Any, operands: Sequence[Any], reading: Reading
) -> tuple[list[Any], Any]:
    name = equation.primitive.name
    if name in WRAPPINGS:
        return _run(equation.params[WRAPPINGS[name]], operands, reading)
    if name == "scan":
        return _scan(equation, operands, reading)
    if name == "while":
        return _while(equation, operands, reading)
    if name == "cond":
        lift = _lifting(reading, operands[1:])

        def branch(body: Any, *values: Any) -> Any:
            outputs, seen = _run(body, values, reading)
            return lift(outputs), seen

        branches = [functools.partial(branch, b) for b in equation.params["branches"]]
        index = jnp.asarray(operands[0], jnp.int32)
        return jax.lax.switch(index, branches, *operands[1:])
    seen = None if reading.observe is None else reading.observe(equation, operands)
    if reading.stepped and stepping.carries_step(operands):
        return stepping.outputs(equation, operands, _bound), seen
    if reading.fuzz is None:
        return _bound(equation, operands), seen
    operands = blurring.operands(equation, operands, reading.fuzz, reading.seed)
    outputs = _bound(equation, operands)
    return blurring.results(equation, outputs, reading.fuzz, reading.seed), seen


def _bound(equation: Any, operands: Sequence[Any]) -> list[Any]:
    """One equation without bodies, on widened operands."""
    name, params = equation.primitive.name, dict(equation.params)
    if name == "reduce_precision":
        return [operands[0]]
    if name == "convert_element_type":
        return [_converted(operands[0], params["new_dtype"])]
    if name in OPAQUE:
        return _in_own_dtypes(equation, operands)
    if name in ("dot_general", "conv_general_dilated"):
        params["precision"] = None
        params["preferred_element_type"] = None
    if params.get("update_jaxpr") is not None:
        # A scatter: how two elements at one place are joined, such as by addition.
        join = params["update_jaxpr"]
        pair = [jax.ShapeDtypeStruct((), operands[0].dtype)] * 2
        joined = jax.make_jaxpr(lambda *v: _run(join, v, Reading())[0])(*pair)
        params["update_jaxpr"] = compat.open_jaxpr(joined)
    for key in ("dtype", "new_dtype"):
        if key in params and params[key] is not None:
            params[key] = wide(params[key])
    with compat.source(equation):
        outputs = equation.primitive.bind(
            *operands, **equation.primitive.get_bind_params(params)
        )
    return list(outputs) if equation.primitive.multiple_results else [outputs]


def _converted(value: Any, dtype: Any) -> Any:
    if jnp.iscomplexobj(value) and jnp.issubdtype(dtype, jnp.floating):
        return value
    return jax.lax.convert_element_type(value, wide(dtype))


def _in_own_dtypes(equation: Any, operands: Sequence[Any]) -> list[Any]:
    narrow = [
        compat.strong(value, atom.aval) if hasattr(atom.aval, "dtype") else value
        for value, atom in zip(operands, equation.invars, strict=True)
    ]
    return [widen(output) for output in compat.bind(equation, narrow)]


def _scan(
    equation: Any, operands: Sequence[Any], reading: Reading
) -> tuple[list[Any], Any]:
    params = equation.params
    fixed, carried = compat.scan_split(equation)
    constants = operands[:fixed]
    carry = operands[fixed : fixed + carried]
    lift = _lifting(reading, operands)

    def step(state: Any, rows: Any) -> Any:
        held, total = state
        outputs, seen = _run(params["jaxpr"], [*constants, *held, *rows], reading)
        return (lift(outputs[:carried]), total + seen), outputs[carried:]

    settled = lift(_settled(params["jaxpr"], fixed, carry))
    start = (settled, jnp.zeros(reading.width))
    (last, total), rows = jax.lax.scan(
        step,
        start,
        operands[fixed + carried :],
        length=params["length"],
        reverse=params["reverse"],
    )
    return [*last, *rows], total


def _lifting(reading: Reading, operands: Sequence[Any]) -> Callable[[Any], list[Any]]:
    """What makes floats complex where a step may come in with any of `operands`."""
    if reading.stepped and stepping.carries_step(operands):
        return lambda values: [stepping.lifted(value) for value in values]
    return list


def _settled(jaxpr: Any, fixed: int, carry: Sequence[Any]) -> list[Any]:
    """Carried values as strongly typed arrays of the dtype that comes out."""
    avals = [v.aval for v in compat.open_jaxpr(jaxpr).invars[fixed:]]
    return [
        value if _is_extended(aval) else jnp.asarray(value, _kept(value, aval))
        for value, aval in zip(carry, avals[: len(carry)], strict=True)
    ]


def _kept(value: Any, aval: Any) -> Any:
    target = wide(aval.dtype)
    return jnp.promote_types(target, value.dtype) if jnp.iscomplexobj(value) else target


def _is_extended(aval: Any) -> bool:
    return not isinstance(aval.dtype, np.dtype)


def _while(
    equation: Any, operands: Sequence[Any], reading: Reading
) -> tuple[list[Any], Any]:
    params = equation.params
    first, second = params["cond_nconsts"], params["body_nconsts"]
    tests, bodies = operands[:first], operands[first : first + second]
    lift = _lifting(reading, operands)
    carry = lift(_settled(params["body_jaxpr"], second, operands[first + second :]))
    plain = Reading(stepped=reading.stepped)

    def proceed(state: Any) -> Any:
        return _run(params["cond_jaxpr"], [*tests, *state[0]], plain)[0][0]

    def step(state: Any) -> Any:
        held, total = state
        outputs, seen = _run(params["body_jaxpr"], [*bodies, *held], reading)
        return lift(outputs), total + seen

    return jax.lax.while_loop(proceed, step, (carry, jnp.zeros(reading.width)))
