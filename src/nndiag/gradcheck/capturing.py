"""Every custom derivative rule that a program calls, with the values that it saw."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import jaxpr_as_fun

from nndiag.jaxprs import compat
from nndiag.jaxprs.compat.rules import rule_source
from nndiag.jaxprs.primitives import WRAPPINGS

CUSTOM = frozenset({"custom_jvp_call", "custom_vjp_call"})
_FIRST_ITERATIONS = 8


class Use(NamedTuple):
    """One call of a function with a custom rule.

    Attributes:
        equation: a `custom_jvp_call` or `custom_vjp_call`.
        operands: the values that it was called with.
    """

    equation: Any
    operands: list[Any]


Uses = Generator[Use, None, list[Any]]


def uses(jaxpr: Any, arguments: Sequence[Any]) -> Uses:
    """Evaluates a program and yields each use of a rule that a user wrote.

    It goes into jit, remat, the branch taken, and loops: there into the first
    iterations, and then into those whose number is a power of two. What is inside the
    function of a rule is not differentiated, and not entered.

    Yields:
        The uses, in the order of the program.

    Returns:
        The outputs of the program.
    """
    inner = compat.open_jaxpr(jaxpr)
    values = dict(zip(inner.invars, arguments, strict=True))
    values.update(zip(inner.constvars, compat.constants(jaxpr), strict=True))

    def read(atom: Any) -> Any:
        return compat.literal(atom) if compat.is_literal(atom) else values[atom]

    for equation in inner.eqns:
        operands = [read(atom) for atom in equation.invars]
        outputs = yield from _enter(equation, operands)
        values.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in inner.outvars]


def _enter(equation: Any, operands: list[Any]) -> Uses:
    name = equation.primitive.name
    if _has_rules(equation):
        if name in CUSTOM:
            yield Use(equation, operands)
        elif name in WRAPPINGS:
            return (yield from uses(equation.params[WRAPPINGS[name]], operands))
        elif name == "cond":
            branches = equation.params["branches"]
            taken = int(np.clip(int(operands[0]), 0, len(branches) - 1))
            return (yield from uses(branches[taken], operands[1:]))
        elif name == "scan":
            yield from _uses_in_scan(equation, operands)
        elif name == "while":
            yield from _uses_in_while(equation, operands)
    return compat.bind(equation, operands)


def _has_rules(equation: Any) -> bool:
    if equation.primitive.name in CUSTOM:
        return not rule_source(equation).of_library
    return any(
        _has_rules(within)
        for body in compat.jaxprs_in(equation)
        for within in body.eqns
    )


def _uses_in_scan(equation: Any, operands: list[Any]) -> Uses:
    body, length = equation.params["jaxpr"], equation.params["length"]
    fixed, carried = compat.scan_split(equation)
    constants, carry = operands[:fixed], operands[fixed : fixed + carried]
    scanned = operands[fixed + carried :]
    step = _compiled(body)
    for number in range(length):
        row = length - 1 - number if equation.params["reverse"] else number
        arguments = [*constants, *carry, *(values[row] for values in scanned)]
        carry = (yield from _iterate(number, body, step, arguments))[:carried]
    return []


def _uses_in_while(equation: Any, operands: list[Any]) -> Uses:
    params = equation.params
    first, second = params["cond_nconsts"], params["body_nconsts"]
    body = params["body_jaxpr"]
    step, goes_on = _compiled(body), _compiled(params["cond_jaxpr"])
    asked, constants = operands[:first], operands[first : first + second]
    carry = operands[first + second :]
    number = 0
    while bool(goes_on(*asked, *carry)[0]):
        carry = yield from _iterate(number, body, step, [*constants, *carry])
        number += 1
    return []


def _iterate(
    number: int, body: Any, step: Callable[..., list[Any]], arguments: list[Any]
) -> Uses:
    if number < _FIRST_ITERATIONS or number & (number - 1) == 0:
        return (yield from uses(body, arguments))
    return step(*arguments)


def _compiled(jaxpr: Any) -> Callable[..., list[Any]]:
    return jax.jit(jaxpr_as_fun(jaxpr))
