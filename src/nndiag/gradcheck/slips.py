"""Slips of the pen in one rule of backpropagation, tried on the function itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from nndiag.gradcheck import surrogates
from nndiag.gradcheck.blaming import Blame, Subject, by_line, fit, place
from nndiag.gradcheck.capturing import CUSTOM
from nndiag.gradcheck.comparing import distance
from nndiag.gradcheck.elementwise import activations
from nndiag.gradcheck.listing import Edit, Listing, Step
from nndiag.jaxprs.compat.rules import rule_source

ACTIVATION = "missing activation derivative"
SLIP = "slip"
_CURVES = {"tanh": "the activation tanh", "logistic": "the activation sigmoid"}
_SLOPES: dict[str, dict[str, Callable[[Any, Any], Any]]] = {
    "tanh": {
        "1 − y², of its input, not its output y": lambda x, y: 1 - x * x,
        "1 − y, not 1 − y²": lambda x, y: 1 - y,
    },
    "logistic": {
        "y (1 − y), of its input, not its output y": lambda x, y: x * (1 - x),
        "y, not y (1 − y)": lambda x, y: y,
        "1 − y, not y (1 − y)": lambda x, y: 1 - y,
    },
}
"""Wrong derivatives of an activation y of x that people write."""

_CHOOSING = ("select_n", "max", "min", "clamp")


class Slip(NamedTuple):
    """A step differentiated wrongly.

    Attributes:
        step: its index.
        edit: of the step.
        words: what the slip is, to follow "what comes out when".
        cause: `ACTIVATION` or `SLIP`.
    """

    step: int
    edit: Edit
    words: str
    cause: str = SLIP


def blame_slip(
    subject: Subject, given: Any, expected: Any, rounding: float
) -> Blame | None:
    """The slip that explains a gradient, up to a constant factor.

    Args:
        subject: the function.
        given: the gradient, as one vector.
        expected: the derivative, likewise.
        rounding: largest residual that rounding can make, relative.
    """
    muted, subject.muted = subject.muted, {}
    found = _first(subject, given, expected, rounding)
    if found is None and muted:
        # Who writes a gradient by hand leaves out what comes to nothing.
        subject.muted = muted
        found = _first(subject, given, expected, rounding)
    return found


def _first(
    subject: Subject, given: Any, expected: Any, rounding: float
) -> Blame | None:
    steps = subject.listing.steps
    slips = _slips(subject.listing, set(subject.sources))
    whole = [list(kind) for kind in _truncations(steps)]
    for kind in itertools.chain(whole, slips, _later(subject)):
        tried = {slip.step: slip for slip in kind}
        together = [list(tried)] if len(tried) > 1 else []
        apart = [] if kind in whole else by_line(steps, list(tried))
        for indices in [*apart, *together]:
            if subject.patience <= 0:
                return None
            try:
                found = np.asarray(
                    subject.gradient({i: tried[i].edit for i in indices})
                )
            except (TypeError, ValueError):  # the wrong shape: not this slip
                continue
            factor, residual = fit(given, found)
            if not np.isfinite(found).all() or residual > rounding:
                continue
            slip, step = tried[indices[0]], steps[indices[0]]
            often = f"{factor:.6g} times " if abs(factor - 1) > rounding else ""
            several = len(indices) > 1 and kind not in whole
            calls = f" ({len(indices)} uses)" if several else ""
            words = (
                f"{often}what comes out when {slip.words.format(place(step) + calls)}"
            )
            bend = distance(factor * expected, given)
            return Blame(slip.cause, words, residual, step.file, step.line, bend)
    return None


def _slips(listing: Listing, sources: set[int]) -> Iterator[list[Slip]]:
    """All slips, kind by kind."""
    moving = set(sources)
    for step in listing.steps:
        if any(atom in moving for atom in step.inputs if isinstance(atom, int)):
            moving.update(step.outputs)
    yield [
        Slip(
            index,
            surrogates.straight(origin),
            f"the derivative of {_name(listing.steps[index])}{{}} is taken as 1",
            ACTIVATION,
        )
        for index, origin in activations(listing)
    ]
    made = {number: step for step in listing.steps for number in step.outputs}
    for find in _FINDERS:
        kinds: dict[str, list[Slip]] = {}
        for index, step in enumerate(listing.steps):
            atoms = [a for a in step.inputs if isinstance(a, int)]
            if moving.intersection(atoms):
                for slip in find(index, step, made):
                    kinds.setdefault(slip.words, []).append(slip)
        yield from kinds.values()


_Made = dict[int, Step]


def _slopes(index: int, step: Step, made: _Made) -> Iterator[Slip]:
    name = step.equation.primitive.name
    for taken, slope in _SLOPES.get(name, {}).items():
        words = f"the derivative of {_CURVES[name]}{{}} is taken as {taken}"
        yield Slip(index, surrogates.sloped(slope), words)


def _factors(index: int, step: Step, made: _Made) -> Iterator[Slip]:
    if step.equation.primitive.name != "mul":
        return
    for number in range(2):
        words = (
            "the term of the product rule{} lacks its factor, the "
            f"{('right', 'left')[number]} one"
        )
        yield Slip(index, surrogates.without_factor(number), words)


def _matrices(index: int, step: Step, made: _Made) -> Iterator[Slip]:
    equation = step.equation
    if equation.primitive.name != "dot_general":
        return
    (left, right), batch = equation.params["dimension_numbers"]
    ranks = [variable.aval.ndim for variable in equation.invars]
    if any(batch) or ranks[1] != 2 or (left, right) != ((ranks[0] - 1,), (0,)):
        return
    for number in range(2):
        side = ("right", "left")[number]
        words = f"the matrix product{{}} passes back through its {side} factor"
        yield Slip(index, surrogates.not_transposed(number), f"{words}, not transposed")


def _branches(index: int, step: Step, made: _Made) -> Iterator[Slip]:
    name, shape = step.equation.primitive.name, step.equation.outvars[0].aval.shape
    if name not in _CHOOSING:
        return
    choices = {"select_n": range(1, len(step.inputs)), "clamp": range(1, 2)}
    for number in choices.get(name, range(2)):
        if isinstance(step.inputs[number], int):
            words = (
                f"the derivative of one side of the {_CHOICE[name]}{{}} is taken "
                "everywhere, beyond the threshold as well"
            )
            yield Slip(index, surrogates.always(number, shape), words)


_CHOICE = {"select_n": "where", "max": "maximum", "min": "minimum", "clamp": "clip"}


def _broadcasts(index: int, step: Step, made: _Made) -> Iterator[Slip]:
    """Sums along the other axis of a square."""
    equation = step.equation
    if equation.primitive.name != "broadcast_in_dim":
        return
    atom = step.inputs[0]
    shape = equation.outvars[0].aval.shape
    if equation.invars[0].aval.ndim != 1 or len(shape) != 2:
        return
    (kept,) = equation.params["broadcast_dimensions"]
    maker = made.get(atom) if isinstance(atom, int) else None
    reduced = maker is not None and maker.equation.primitive.name in surrogates.REDUCING
    if reduced and maker is not None:
        words = "the reduction behind this line{} runs back along the wrong axis"
        yield Slip(index, surrogates.reduced_across(maker, kept), words)
    words = f"what was repeated along axis {1 - kept}{{}} is summed over the wrong axis"
    yield Slip(index, surrogates.repeated_across(kept), words)


def _running(index: int, step: Step, made: _Made) -> Iterator[Slip]:
    if step.equation.primitive.name == "cumsum":
        axis = step.equation.params["axis"]
        words = f"the running sum along axis {axis}{{}} runs back in the same direction"
        yield Slip(index, surrogates.same_direction, words)


def _lookups(index: int, step: Step, made: _Made) -> Iterator[Slip]:
    if step.equation.primitive.name != "gather":
        return
    words = (
        "of what is read several times{} only the last term counts on the way back, as "
        "if it overwrote the others"
    )
    yield Slip(index, surrogates.overwritten, words)
    for axis in range(step.equation.invars[0].aval.ndim):
        for shift in (1, -1):
            words = f"the indices{{}} are off by one along axis {axis}"
            yield Slip(index, surrogates.shifted(shift, axis), f"{words}: {shift:+d}")


_FINDERS = (
    _slopes,
    _factors,
    _matrices,
    _branches,
    _broadcasts,
    _running,
    _lookups,
)


def _later(subject: Subject) -> Iterator[list[Slip]]:
    """In an unrolled loop, matrix products with the state of the next iteration."""
    steps, values = subject.listing.steps, subject.values
    turns: dict[Any, list[int]] = {}
    for index, step in enumerate(steps):
        if step.equation.primitive.name == "dot_general":
            key = step.file, step.line, step.inputs[1]
            turns.setdefault(key, []).append(index)
    maker = {number: i for i, step in enumerate(steps) for number in step.outputs}
    words = (
        "the matrix product{} is differentiated at the state of the next iteration, "
        "off by one"
    )
    for indices in turns.values():
        found: list[Slip] = []
        for now, after in itertools.pairwise(indices):
            state = steps[after].inputs[0]
            if not isinstance(state, int) or not now < maker.get(state, -1) < after:
                break
            found.append(Slip(now, surrogates.with_factor(values[state]), words))
            end = after + maker[state] - now  # made like it in the last iteration
            if after == indices[-1] and end < len(steps):
                last = values[steps[end].outputs[0]]
                if np.shape(last) == np.shape(values[state]):
                    found.append(Slip(after, surrogates.with_factor(last), words))
        yield found


def _truncations(steps: Sequence[Step]) -> Iterator[Iterator[Slip]]:
    """Loops of which only the last iteration, or the first, is differentiated."""
    for loop, length in dict.fromkeys((s.turn[0], s.turn[2]) for s in steps if s.turn):
        for kept, name in ((length - 1, "last"), (0, "first")):
            words = f"only the {name} iteration of the loop{{}} counts"
            yield (
                Slip(index, surrogates.frozen, f"{words}: the terms of all others lack")
                for index, step in enumerate(steps)
                if step.turn is not None and step.turn[0] == loop
                if step.turn[1] != kept
            )


def _name(step: Step) -> str:
    name = step.equation.primitive.name
    if name in CUSTOM:
        return rule_source(step.equation).function
    return _CURVES.get(name, "the activation")
