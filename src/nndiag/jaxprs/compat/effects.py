"""Programs without their prints and callbacks."""

from __future__ import annotations

import functools

from nndiag.jaxprs.compat.equations import Equation, Jaxpr, is_jaxpr, open_jaxpr

_REPORTS = frozenset({"debug_callback", "debug_print", "io_callback"})


@functools.lru_cache(maxsize=64)
def silence(jaxpr: Jaxpr) -> Jaxpr:
    """`jaxpr` without its prints and debug callbacks, at any depth.

    An `io_callback` whose results nobody reads goes as well.

    Raises:
        LookupError: the program reads the results of an `io_callback`.
    """
    if not open_jaxpr(jaxpr).effects:
        return jaxpr
    inner = open_jaxpr(jaxpr)
    read = {id(v) for v in inner.outvars} | {
        id(v) for equation in inner.eqns for v in equation.invars
    }
    kept: list[Equation] = []
    for equation in inner.eqns:
        if equation.primitive.name in _REPORTS:
            if any(id(v) in read for v in equation.outvars):
                raise LookupError(equation.primitive.name)
            continue
        changes = {
            name: (
                tuple(silence(held) for held in value)
                if isinstance(value, tuple)
                else silence(value)
            )
            for name, value in equation.params.items()
            if (is_jaxpr(value) or isinstance(value, tuple))
            and all(
                is_jaxpr(v) for v in (value if isinstance(value, tuple) else [value])
            )
        }
        if changes and equation.effects:
            effects = set().union(
                *(
                    open_jaxpr(held).effects
                    for value in changes.values()
                    for held in (value if isinstance(value, tuple) else (value,))
                )
            )
            equation = equation.replace(
                params={**equation.params, **changes}, effects=frozenset(effects)
            )
        kept.append(equation)
    effects = frozenset().union(*(equation.effects for equation in kept))
    silent = inner.replace(eqns=kept, effects=effects)
    return jaxpr.replace(jaxpr=silent) if inner is not jaxpr else silent
