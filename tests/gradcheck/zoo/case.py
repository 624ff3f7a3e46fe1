"""What a gradient of the zoo is, and the two ways to put one in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

KINDS: dict[str, tuple[str, ...]] = {
    "factor": ("times the derivative", "times the term"),
    "batch": ("times the derivative", "sum"),
    "sign": ("sign", "-1 times", "−1 times", "minus"),
    "transpose": ("transpos", "axes in the order"),
    "activation": ("activation", "is taken as 1"),
    "dropped term": ("term", "mean", "projection", "constant along"),
    "detached": ("stop_gradient", "detach", "zero", "is 0"),
    "clipped": ("clip",),
    "wrong axis": ("axis", "axes"),
    "broadcast": ("broadcast", "in every element", "constant along", "same along"),
    "off by one": ("shift", "off by one", "roll", "neighbour"),
    "one coordinate": ("except at [", "except in row", "but zero at [", "one element"),
    "truncation": ("bfloat16", "precision", "rounded"),
    "swapped": ("swap", "exchanged", "the derivative with respect to"),
    "regulariser": (
        "regularis",
        "penalty",
        "decay",
        "times the parameter",
        "proportional",
    ),
    "one argument": ("with respect to", "argument", "operand"),
    "threshold": ("beyond", "threshold", "only where", "above", "below"),
}
"""Each kind of wrong gradient, with words of which an explanation has to have one."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A function, a point, a gradient, and what is true of it.

    Attributes:
        name: of the case, unique.
        fn: the function.
        args: the point.
        gradient: of `fn`, as given; `None` if the rule inside `fn` is tried.
        options: more keywords of `check_grads`.
        kind: what is wrong, a key of `KINDS`; ``""`` if nothing is.
        wrong: paths of the wrong leaves.
        rule: name of the function whose custom rule is wrong, ``""`` if none is.
        plain: the same function without custom rules, where `fn` has some.
        double: whether it runs in JAX's 64-bit mode.
        undecided: whether "undecided" is an answer too: the point is on a kink.
        often: whether the tests run it, or only the benchmark does.
    """

    name: str
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    gradient: Callable[..., Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    kind: str = ""
    wrong: frozenset[str] = frozenset()
    rule: str = ""
    plain: Callable[..., Any] | None = None
    double: bool = False
    undecided: bool = False
    often: bool = True


CASES: list[Case] = []


def right(name: str, fn: Callable[..., Any], *args: Any, **facts: Any) -> None:
    """Puts in a gradient with nothing wrong."""
    CASES.append(Case(name=name, fn=fn, args=args, **facts))


def wrong(
    name: str, kind: str, leaves: str, fn: Callable[..., Any], *args: Any, **facts: Any
) -> None:
    """Puts in a wrong gradient; `leaves` are paths, separated by spaces."""
    assert kind in KINDS
    paths = frozenset(leaves.split())
    CASES.append(Case(name=name, fn=fn, args=args, kind=kind, wrong=paths, **facts))


def normal(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    """Normal numbers in float32."""
    draws = np.random.default_rng(seed).normal(size=shape)
    return np.asarray(scale * draws, np.float32)


def spoiled(fn: Callable[..., Any], spoil: Callable[[Any], Any]) -> Callable[..., Any]:
    """The gradient of `fn` by autodiff, spoiled."""

    def gradient(*args: Any) -> Any:
        return spoil(jax.tree.map(np.asarray, jax.grad(fn)(*args)))

    return gradient
