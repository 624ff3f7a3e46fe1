"""What one array is of another: its negative, its transpose, 128 times it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from nndiag.gradcheck.digits import few_digits

WEAK = frozenset({"some elements", "combination"})
"""Causes that only describe a gradient, where a program may explain it better."""

_MOST_AXES = 4
_FEWEST_ELEMENTS = 4


class Relation(NamedTuple):
    """One cause that explains how a gradient differs from the derivative.

    Attributes:
        cause: ``"factor"``, ``"weight penalty"``, ``"parameters"``, ``"clipped"``,
            ``"sign only"``, ``"times parameter"``, ``"conjugate"``, ``"transposed"``,
            ``"reversed"``, ``"shifted"``, ``"averaged"``, ``"detached"``,
            ``"elements"``, ``"rounded"``, ``"zero"``, or one of `WEAK`.
        words: what the gradient is, to follow "the gradient is".
        residual: ‖given − model‖ / ‖given‖.
        factor: the model is this many times the derivative, NaN for other causes.
    """

    cause: str
    words: str
    residual: float
    factor: float = float("nan")


class _Candidate(NamedTuple):
    cause: str
    words: str
    model: Any
    factor: float = float("nan")


def distance(given: Any, model: Any) -> float:
    """‖given − model‖ / ‖given‖, with 0 / 0 = 0.

    >>> distance(np.array([3.0, 4.0]), np.array([3.0, 3.0]))
    0.2
    """
    difference = float(np.linalg.norm(np.ravel(given - model)))
    return difference and difference / max(
        float(np.linalg.norm(np.ravel(given))), 1e-300
    )


def relate(
    given: Any, expected: Any, parameter: Any, *, rounding: float, whole: bool = False
) -> Relation | None:
    """The first single cause by which `given` comes from `expected`.

    Args:
        given: a gradient.
        expected: the derivative; of the same shape, or of the same number of elements.
        parameter: the parameters, in the shape of `expected`.
        rounding: largest residual that rounding can make, relative.
        whole: whether the arrays are all leaves in one vector, so that axes and
            neighbours mean nothing.

    Returns:
        The relation, `None` if no single cause explains `given` to `rounding`.

    >>> e = np.array([[1.0, 2.0], [3.0, 5.0]])
    >>> relate(e.T, e, e, rounding=1e-9).words
    'the derivative with its axes in the order (1, 0): transposed'
    """
    candidates = _axes(given, expected) if not whole else iter(())
    if given.shape == expected.shape:
        local = () if whole else _local(given, expected, parameter, rounding)
        candidates = itertools.chain(
            _elementwise(given, expected, parameter, rounding), candidates, local
        )
    for candidate in candidates:
        residual = distance(given, candidate.model)
        if residual <= rounding:
            cause, words, _, factor = candidate
            return Relation(cause, words, residual, factor)
    return None


def _elementwise(
    given: Any, expected: Any, parameter: Any, rounding: float
) -> Iterator[_Candidate]:
    if not given.any():
        yield _Candidate("zero", "zero: nothing flows back to it", given)
        return
    square = np.vdot(expected, expected).real
    if square == 0:
        return
    factor = float(np.vdot(expected, given).real / square)
    times = (
        "the negative of the derivative"
        if np.isclose(factor, -1, rtol=rounding)
        else f"{factor:.6g} times the derivative"
    )
    yield _Candidate("factor", times, factor * expected, factor)
    if np.iscomplexobj(given):
        words = "the complex conjugate of the derivative"
        yield _Candidate("conjugate", words, np.conj(expected))
    elif given.size >= _FEWEST_ELEMENTS:
        yield from _clipped(given, expected)
    if given.size >= _FEWEST_ELEMENTS:
        yield _Candidate("sign only", "the sign of the derivative", np.sign(expected))
        yield from _with_parameter(given, expected, parameter)


def _clipped(given: Any, expected: Any) -> Iterator[_Candidate]:
    low, high = float(given.min()), float(given.max())
    cut_low, cut_high = expected.min() < low, expected.max() > high
    bound = max(abs(low), abs(high))
    words = (
        f"the derivative clipped to ±{bound:.4g}"
        if np.isclose(-low, high, rtol=1e-6) and (cut_low or cut_high)
        else f"the derivative clipped to at most {high:.4g}"
        if not cut_low
        else f"the derivative clipped to at least {low:.4g}"
        if not cut_high
        else f"the derivative clipped to [{low:.4g}, {high:.4g}]"
    )
    cut = (expected < low) | (expected > high)
    if cut.any() and not cut.all():
        share = f", which cuts {int(cut.sum())} of {cut.size} elements"
        yield _Candidate("clipped", words + share, np.clip(expected, low, high))


def _with_parameter(given: Any, expected: Any, parameter: Any) -> Iterator[_Candidate]:
    product = expected * parameter
    square = np.vdot(product, product).real
    if square > 0:
        scale = float(np.vdot(product, given).real / square)
        often = "" if np.isclose(scale, 1, rtol=1e-4) else f"{scale:.4g} times "
        words = f"{often}the derivative times the parameter, element by element"
        yield _Candidate("times parameter", words, scale * product)
    basis = np.stack([expected.ravel(), parameter.ravel()], axis=1)
    (a, b), _, rank, _ = np.linalg.lstsq(basis, given.ravel(), rcond=None)
    if rank < 2:
        return
    model = a * expected + b * parameter
    a, b = float(np.real(a)), float(np.real(b))
    if np.isclose(b, 1, rtol=1e-4) and a < 0:
        words = f"the parameters after a step with learning rate {-a:.4g}"
        yield _Candidate("parameters", f"{words}, no gradient", model)
    elif np.isclose(a, 1, rtol=1e-4):
        words = (
            f"the derivative plus {b:.4g} times the parameters, as with a weight "
            "penalty that the function does not have"
            if b > 0
            else f"the derivative less {-b:.4g} times the parameters: the term of the "
            "weight penalty is missing"
        )
        yield _Candidate("weight penalty", words, model)
    else:
        words = f"{a:.4g} times the derivative plus {b:.4g} times the parameters"
        yield _Candidate("combination", words, model)


def _axes(given: Any, expected: Any) -> Iterator[_Candidate]:
    """The elements of `expected`, elsewhere."""
    if given.size != expected.size or expected.ndim > _MOST_AXES or given.size < 2:
        return
    for order in itertools.permutations(range(expected.ndim)):
        moved = np.transpose(expected, order)
        if moved.shape == given.shape and order != tuple(range(expected.ndim)):
            words = f"the derivative with its axes in the order {order}"
            kind = ": transposed" if expected.ndim == 2 else ""
            yield _Candidate("transposed", words + kind, moved)
    if expected.ndim > 1:
        words = "the derivative read column by column into rows"
        columns = np.reshape(np.ravel(expected, order="F"), given.shape)
        yield _Candidate("transposed", words, columns)
    if given.shape != expected.shape:
        words = f"the derivative in the shape {given.shape}, not {expected.shape}"
        yield _Candidate("transposed", words, np.reshape(expected, given.shape))
        return
    for axis, size in enumerate(expected.shape):
        if size < 2:
            continue
        words = f"the derivative with axis {axis} reversed"
        yield _Candidate("reversed", words, np.flip(expected, axis))
        for step in (1, -1):
            words = f"the derivative shifted by {step:+d} along axis {axis}"
            rolled = np.roll(expected, step, axis)
            yield _Candidate("shifted", f"{words}, the last one first", rolled)
            edge: list[Any] = [slice(None)] * expected.ndim
            edge[axis] = 0 if step == 1 else -1
            rolled = rolled.copy()
            rolled[tuple(edge)] = 0
            yield _Candidate("shifted", f"{words}, zero at the edge", rolled)
            if size > 2:
                rolled[tuple(edge)] = given[tuple(edge)]
                yield _Candidate("shifted", f"{words}, but for the edge", rolled)
    for axes in _subsets(range(expected.ndim)):
        if len(axes) > 1:
            words = f"the derivative with axes {axes} reversed"
            yield _Candidate("reversed", words, np.flip(expected, axes))
        if expected.size < _FEWEST_ELEMENTS:
            continue
        mean = np.broadcast_to(expected.mean(axes, keepdims=True), expected.shape)
        count = expected.size // max(1, expected.mean(axes).size)
        over = f"axis {axes[0]}" if len(axes) == 1 else f"axes {axes}"
        for name, model in (("mean", mean), ("sum", mean * count)):
            words = f"the {name} of the derivative over {over}, in every element"
            yield _Candidate("averaged", words, model)


def _subsets(axes: range) -> Iterator[tuple[int, ...]]:
    for length in range(1, len(axes) + 1):
        yield from itertools.combinations(axes, length)


def _local(
    given: Any, expected: Any, parameter: Any, rounding: float
) -> Iterator[_Candidate]:
    """The derivative but for some of its elements, or for its last digits."""
    wrong = np.abs(given - expected) > rounding * np.abs(expected).max(initial=0.0)
    if not wrong.any():
        return
    if digits := few_digits(given, expected):
        words = f"the derivative rounded to {digits} precision"
        yield _Candidate("rounded", words, given)
    if wrong.all():
        return
    model = np.where(wrong, given, expected)
    beyond = _threshold(wrong, parameter)
    where = beyond or _region(wrong)
    if not given[wrong].any():
        words = f"the derivative, but zero {where}: detached there"
        yield _Candidate("detached", words, model)
        return
    part = expected[wrong]
    square = np.vdot(part, part).real
    factor = float(np.vdot(part, given[wrong]).real / square) if square else np.nan
    even = bool(square) and distance(given[wrong], factor * part) <= rounding
    if not even and not beyond and wrong.mean() > 0.5:
        return
    size = f"where it is {factor:.6g} times that" if even else "where it differs"
    cause = "elements" if even or beyond else "some elements"
    yield _Candidate(cause, f"the derivative except {where}, {size}", model)


def _threshold(mask: Any, parameter: Any) -> str:
    """Where a mask begins if the size of the parameter decides it, else `""`."""
    if np.iscomplexobj(parameter) or parameter.shape != mask.shape or mask.sum() < 2:
        return ""
    for values, words in (
        (np.abs(parameter), "beyond about ±{:.3g}, by the parameter's size"),
        (parameter, "above about {:.3g}, by the parameter's value"),
        (-parameter, "below about {:.3g}, by the parameter's value"),
    ):
        inside, outside = values[mask], values[~mask]
        if outside.max() < inside.min():
            edge = float(inside.min() + outside.max()) / 2
            return words.format(-edge if "below" in words else edge)
    return ""


def _region(mask: Any) -> str:
    """The elements of a mask, as a row, a block of rows, or a few elements."""
    for axis in range(mask.ndim):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        rows = np.flatnonzero(mask.any(axis=others))
        full = bool(mask.all(axis=others)[rows].all()) and mask.ndim > 1
        noun = ("row", "column")[axis] if mask.ndim == 2 else f"index of axis {axis}"
        if full and len(rows) == 1:
            return f"in {noun} {rows[0]}"
        if full and rows[-1] - rows[0] == len(rows) - 1:
            plural = noun.replace("index", "indices") + "s" * (mask.ndim == 2)
            return f"in {plural} {rows[0]} to {rows[-1]}"
    first = tuple(map(int, np.argwhere(mask)[0]))
    count = int(mask.sum())
    if count == 1:
        return f"at {list(first)}"
    return f"at {count} of {mask.size} elements, the first at {list(first)}"
