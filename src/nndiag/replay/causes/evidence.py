"""Reads the numbers of a birth: its first bad element, what went in, who made it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.jaxprs import compat
from nndiag.replay.birth import Birth

_PASSING = frozenset(
    {"broadcast_in_dim", "reshape", "convert_element_type", "copy", "squeeze"}
    | {"stop_gradient", "transpose", "expand_dims", "neg", "reduce_precision", "max"}
    | {"copy_p", "optimization_barrier", "slice", "concatenate", "add_any"}
)
"""Primitives that a look upstream passes through: they hand on a 0, an Inf or a NaN."""


class Made(NamedTuple):
    """An equation upstream, and what went into it."""

    equation: Any
    operands: tuple[Any, ...]

    @property
    def name(self) -> str:
        """Its primitive; for a jitted function of JAX's own, that function's name."""
        name = self.equation.primitive.name
        return str(self.equation.params.get("name", name)) if name == "jit" else name


class Evidence:
    """A birth, ready to be asked."""

    def __init__(self, birth: Birth) -> None:
        self.birth = birth
        self.primitive: str = birth.equation.primitive.name
        self.parameters: dict[str, Any] = birth.equation.params
        self.operands = tuple(map(plain, birth.operands))
        self.result = np.asarray(birth.result)
        bad = np.asarray(birth.bad)
        places = np.argwhere(bad)
        self.element: tuple[int, ...] = tuple(int(i) for i in places[0])
        self.count = len(places)

    @property
    def is_complex(self) -> bool:
        """Whether the result is made of complex numbers."""
        return bool(np.iscomplexobj(self.result))

    @property
    def dtype(self) -> str:
        """The dtype of the result."""
        return str(self.result.dtype)

    @property
    def largest(self) -> float:
        """The largest finite number of the result's dtype."""
        return largest(self.dtype)

    def element_of(self, index: int) -> Any:
        """Operand `index` at the first bad element, `None` if it has none there."""
        operand = self.operands[index]
        if is_key(operand):
            return None
        try:
            return np.broadcast_to(operand, self.result.shape)[self.element]
        except ValueError:
            return None

    def value(self, index: int) -> float:
        """The same, NaN if there is none or if it is not real."""
        element = self.element_of(index)
        if element is None or (np.iscomplexobj(element) and element.imag != 0):
            return math.nan
        return float(element.real) + 0.0

    def written(self, index: int, digits: int = 4) -> str:
        """The same, as the causes print it, complex or not."""
        element = self.element_of(index)
        return "NaN" if element is None else number(element, digits)

    def values(self) -> tuple[float, ...]:
        """All operands at the first bad element."""
        return tuple(self.value(i) for i in range(len(self.operands)))

    def constant(self, index: int) -> float | None:
        """The value of operand `index` if it is written as a real literal."""
        atom = self.birth.equation.invars[index]
        if not compat.is_literal(atom) or np.iscomplexobj(atom.val):
            return None
        return float(np.asarray(atom.val))

    def made(self, index: int) -> Made | None:
        """The equation right before operand `index`."""
        return self.make(self.birth.equation.invars[index])

    def make(self, atom: Any) -> Made | None:
        """The equation that made a variable of the same body."""
        if compat.is_literal(atom):
            return None
        found = self.birth.maker(atom)
        return None if found is None else Made(found[0], tuple(found[1]))

    def upstream(self, index: int, depth: int = 8) -> Iterator[Made]:
        """The equations before operand `index`, nearest first.

        The walk passes through equations that only move, cast or negate, and goes on
        from their first operand that is no literal; it ends at the first other one.
        """
        atom = self.birth.equation.invars[index]
        for _ in range(depth):
            made = self.make(atom)
            if made is None:
                return
            yield made
            if made.name not in _PASSING:
                return
            variables = [a for a in made.equation.invars if not compat.is_literal(a)]
            if not variables:
                return
            atom = variables[0]

    def source(self, index: int) -> Made | None:
        """The first equation before operand `index` that does more than hand on."""
        for made in self.upstream(index):
            if made.name not in _PASSING:
                return made
        return None

    def ancestors(self, atoms: list[Any], limit: int = 40) -> Iterator[Made]:
        """All equations of the same body before some variables, nearest first."""
        queue = list(atoms)
        seen: set[int] = set()
        while queue and len(seen) < limit:
            atom = queue.pop(0)
            if compat.is_literal(atom) or id(atom) in seen:
                continue
            seen.add(id(atom))
            made = self.make(atom)
            if made is not None:
                yield made
                queue.extend(made.equation.invars)


def plain(value: Any) -> Any:
    """A value as a NumPy array; random keys stay what they are."""
    return value if is_key(value) else np.asarray(value)


def is_key(value: Any) -> bool:
    """Whether a value is an array of random keys."""
    return jnp.issubdtype(getattr(value, "dtype", float), jax.dtypes.prng_key)


def is_integer(value: Any) -> bool:
    """Whether a value holds integers."""
    return not is_key(value) and np.issubdtype(np.asarray(value).dtype, np.integer)


def is_inexact(value: Any) -> bool:
    """Whether a value holds floats or complex numbers."""
    return not is_key(value) and jnp.issubdtype(np.asarray(value).dtype, np.inexact)


def largest(dtype: str) -> float:
    """The largest finite number of a floating dtype, NaN for others.

    >>> largest("float16")
    65504.0
    """
    if not jnp.issubdtype(dtype, jnp.inexact):
        return math.nan
    return float(jnp.finfo(dtype).max)


def number(value: Any, digits: int = 4) -> str:
    """A number as the causes print it.

    >>> number(88.7228), number(1e-12), number(-2.0), number(float("-inf"))
    ('88.72', '1e-12', '-2', '-Inf')
    >>> number(100 - 1j), number(2 + 0j)
    ('100 - 1j', '2')
    """
    if np.iscomplexobj(value) and value.imag != 0:
        sign = "-" if value.imag < 0 else "+"
        imaginary = number(abs(value.imag), digits)
        return f"{number(value.real, digits)} {sign} {imaginary}j"
    value = float(value.real) + 0.0
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    return f"{value:.{digits}g}"


def term(text: str) -> str:
    """A printed number as an operand, in parentheses if it needs them.

    >>> term("2"), term("-2"), term("1 + 2j")
    ('2', '(-2)', '(1 + 2j)')
    """
    return f"({text})" if text.startswith("-") or " " in text else text
