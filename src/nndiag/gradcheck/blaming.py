"""The line that makes a gradient wrong, found by taking it out of the program."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nndiag.gradcheck.capturing import CUSTOM
from nndiag.gradcheck.comparing import distance
from nndiag.gradcheck.elementwise import activations
from nndiag.gradcheck.listing import Edit, Listing, Step, read
from nndiag.gradcheck.paths import Paths, find_bent
from nndiag.gradcheck.tracing import trace
from nndiag.jaxprs import compat
from nndiag.jaxprs.compat.rules import rule_source

CLIP = "clipped inside"
ACTIVATION = "missing activation derivative"
PATH = "path"
_MOST_TRIALS = 32
_LIMITS = {"max": "at least", "min": "at most"}


class Blame(NamedTuple):
    """One place whose removal explains a wrong gradient.

    Attributes:
        cause: `CLIP`, `ACTIVATION` or `PATH`.
        words: what is to blame.
        residual: what is left unexplained, relative.
        file: of the place.
        line: of the place.
        bend: ‖given − derivative‖ / ‖derivative‖.
    """

    cause: str
    words: str
    residual: float
    file: str
    line: int
    bend: float

    def sentence(self, bend: float) -> str:
        """What the gradient is, to follow "the gradient is"; `bend` as above."""
        if self.cause == CLIP:
            return f"bent by {bend:.0%} in norm by {self.words}"
        return self.words


def blame_clip(
    gradient: Callable[..., Any],
    args: Sequence[Any],
    kwargs: dict[str, Any],
    given: Sequence[Any],
    expected: Sequence[Any],
    rounding: float,
) -> Blame | None:
    """The clip in a hand-written gradient without which it is the derivative.

    Each `clip`, `maximum`, `minimum`, `clamp` and `where` in the gradient that JAX can
    trace is taken out in turn, all those of one line together first.

    Args:
        gradient: as the user wrote it; to be called within `wide`.
        args: its arguments.
        kwargs: further arguments.
        given: what it returned, leaf by leaf.
        expected: the derivative, leaf by leaf.
        rounding: largest residual that rounding can make, relative.
    """
    try:
        traced = trace(gradient, *args, **kwargs)
    except Exception:  # NumPy code cannot be traced; its numbers have been looked at
        return None
    listing = Listing(traced.jaxpr)
    if len(listing.outputs) != len(expected):
        return None
    _, values = listing.run(traced.values)
    right = _joined(expected)
    for indices in _clips(listing.steps, set(listing.constants)):
        for choice in _choices(listing.steps[indices[0]]):
            edits = {i: _passing(choice) for i in indices}
            outputs, _ = listing.run(traced.values, edits)
            found = _joined(outputs)
            if found.shape != right.shape or not np.isfinite(found).all():
                continue
            factor, residual = _fit(found, right)
            if residual > rounding:
                continue
            bend = distance(factor * right, _joined(given))
            step = listing.steps[indices[0]]
            steps = [listing.steps[i] for i in indices]
            is_that = (
                f"{factor:.6g} times the derivative"
                if abs(factor - 1) > rounding
                else "the derivative"
            )
            words = (
                f"{_describe(steps, values)}; without it, it is {is_that} "
                f"to {residual:.0e}"
            )
            return Blame(CLIP, words, residual, step.file, step.line, bend)
    return None


def blame_activation(
    fn: Callable[..., Any],
    args: Sequence[Any],
    kwargs: dict[str, Any],
    paths: Sequence[str],
    given: Sequence[Any],
    expected: Sequence[Any],
    rounding: float,
) -> Blame | None:
    """The activation whose derivative a hand-written gradient leaves out.

    The function is differentiated again with the derivative of one activation set to
    1, for each elementwise nonlinear function in it, all those of one line together
    first.

    Args:
        fn: the function, its first result the scalar; to be called within `wide`.
        args: its arguments.
        kwargs: further arguments.
        paths: of the leaves that it is differentiated by.
        given: the gradient, leaf by leaf.
        expected: the derivative, leaf by leaf.
        rounding: largest residual that rounding can make, relative.
    """
    traced = trace(fn, *args, **kwargs)
    listing = Listing(traced.jaxpr)
    chosen = [traced.paths.index(path) for path in paths]
    origins = dict(activations(listing))
    wrong = _joined(given)
    for indices in _by_line(listing.steps, list(origins)):
        edits = {i: _straight(origins[i]) for i in indices}

        def loss(leaves: Sequence[Any], edits: dict[int, Edit] = edits) -> Any:
            values = list(traced.values)
            for index, leaf in zip(chosen, leaves, strict=True):
                values[index] = leaf
            return listing.run(values, edits)[0][0]

        found = _joined(jax.grad(loss)([traced.values[i] for i in chosen]))
        if not np.isfinite(found).all():
            continue
        factor, residual = _fit(wrong, found)
        if residual > rounding:
            continue
        step = listing.steps[indices[0]]
        right = _joined(expected)
        often = f"{factor:.6g} times " if abs(factor - 1) > rounding else ""
        calls = f" ({len(indices)} uses)" if len(indices) > 1 else ""
        words = (
            f"{often}what comes out when the derivative of {_name(step)}"
            f"{_place(step)}{calls} is taken as 1"
        )
        bend = distance(factor * right, wrong)
        return Blame(ACTIVATION, words, residual, step.file, step.line, bend)
    return None


def blame_path(
    fn: Callable[..., Any],
    args: Sequence[Any],
    kwargs: dict[str, Any],
    paths: Sequence[str],
    given: Sequence[Any],
    expected: Sequence[Any],
    rounding: float,
) -> Blame | None:
    """The way back through the function that a gradient leaves out or scales.

    The arguments are those of `blame_activation`.
    """
    traced = trace(fn, *args, **kwargs)
    listing = Listing(traced.jaxpr)
    chosen = [traced.paths.index(path) for path in paths]
    wrong, right = _joined(given), _joined(expected)
    bent = find_bent(Paths(traced, listing, chosen), wrong, right, rounding)
    if bent is None:
        return None
    steps = [listing.steps[edge.step] for edge in bent.edges]
    through = " and ".join(f"{s.equation.primitive.name}{_place(s)}" for s in steps)
    if abs(bent.factor) <= 10 * rounding:
        words = (
            f"the derivative without the term that flows back through {through}, as if "
            "it were detached there"
        )
    elif abs(bent.factor + 1) <= 10 * rounding:
        words = (
            "the derivative with the opposite sign of the term that flows back "
            f"through {through}"
        )
    else:
        words = (
            f"the derivative with {bent.factor:.6g} times the term that flows back "
            f"through {through}"
        )
    bend = distance(right, wrong)
    return Blame(PATH, words, bent.residual, steps[0].file, steps[0].line, bend)


def _clips(steps: Sequence[Step], fixed: set[int]) -> Iterator[list[int]]:
    limiting = [i for i, step in enumerate(steps) if list(_choices(step))]
    yield from _by_line(steps, limiting)


def _by_line(steps: Sequence[Step], indices: Sequence[int]) -> Iterator[list[int]]:
    """Groups of steps on one line, then the single steps; `_MOST_TRIALS` at most."""
    groups: dict[tuple[str, int, str], list[int]] = {}
    for index in indices:
        step = steps[index]
        kind = step.equation.primitive.name
        kind = "clip" if kind in _LIMITS else kind
        groups.setdefault((step.file, step.line, kind), []).append(index)
    trials = [group for group in groups.values() if len(group) > 1]
    trials += [[index] for index in indices]
    yield from trials[:_MOST_TRIALS]


def _choices(step: Step) -> Iterator[int]:
    """The operands that a step would return if it did not choose."""
    name, shape = step.equation.primitive.name, step.equation.outvars[0].aval.shape
    operands = range(len(step.inputs))
    among = (
        operands
        if name in _LIMITS
        else (1,)
        if name == "clamp"
        else operands[1:]
        if name == "select_n"
        else ()
    )
    for number in among:
        variable = step.equation.invars[number]
        if isinstance(step.inputs[number], int) and variable.aval.shape == shape:
            yield number


def _passing(number: int) -> Edit:
    def edit(values: dict[int, Any], step: Step) -> list[Any]:
        operands = [read(values, atom) for atom in step.inputs]
        shape = step.equation.outvars[0].aval.shape
        fits = jnp.shape(operands[number]) == shape
        passed = operands[number] if fits else operands[1 - number]
        return [jnp.asarray(passed, step.equation.outvars[0].aval.dtype)]

    return edit


def _straight(origin: int) -> Edit:
    """The value as it is, with the derivative 1."""

    def edit(values: dict[int, Any], step: Step) -> list[Any]:
        operands = [read(values, atom) for atom in step.inputs]
        (result,) = compat.bind(step.equation, operands)
        fixed = jax.lax.stop_gradient
        source = values[origin]
        return [source + fixed(result - source)]

    return edit


def _describe(steps: Sequence[Step], values: dict[int, Any]) -> str:
    """The clip, its limits, and how many elements it changes."""
    limits: list[str] = []
    changed: Any = False
    for step in steps:
        name = step.equation.primitive.name
        (result,) = (values[number] for number in step.outputs)
        operands = [np.asarray(read(values, atom)) for atom in step.inputs]
        passed = operands[next(_choices(step))]
        changed = changed | (np.asarray(result) != passed)
        if name in _LIMITS:
            other = operands[1 - next(_choices(step))]
            if other.size == 1:
                limits.append(f"{_LIMITS[name]} {float(other.ravel()[0]):.4g}")
        elif name == "clamp":
            limits += [f"at least {operands[0]:.4g}", f"at most {operands[2]:.4g}"]
    kind = "where" if steps[0].equation.primitive.name == "select_n" else "clip"
    count = f"{int(np.sum(changed)):,} of {np.size(changed):,} elements changed"
    return f"the {kind}{_place(steps[0])} ({', '.join([*limits, count])})"


def _place(step: Step) -> str:
    return f" at {Path(step.file).name}:{step.line}" if step.file else ""


def _name(step: Step) -> str:
    name = step.equation.primitive.name
    if name in CUSTOM:
        return rule_source(step.equation).function
    return {"logistic": "the sigmoid", "tanh": "tanh"}.get(name, "the activation")


def _fit(given: Any, model: Any) -> tuple[float, float]:
    """The factor c by which c · model is nearest to `given`, and the residual."""
    square = float(np.vdot(model, model).real)
    factor = float(np.vdot(model, given).real) / square if square else 0.0
    return factor, distance(given, factor * model)


def _joined(leaves: Sequence[Any]) -> Any:
    return np.concatenate([np.ravel(np.asarray(leaf)) for leaf in leaves])
