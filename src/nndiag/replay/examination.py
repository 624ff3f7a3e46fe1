"""The autopsy of a function at the arguments at which it failed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nndiag.errors import ProgramError
from nndiag.jaxprs import compat
from nndiag.records import Autopsy, Kind
from nndiag.replay import compiled
from nndiag.replay.context import Context
from nndiag.replay.detection import host, is_finite
from nndiag.replay.judging import LookFor, Verdict, judge, way
from nndiag.replay.provenance import CLEAN, Event, Story, Value, simplify
from nndiag.replay.reporting import birth_of, describe, describe_argument
from nndiag.replay.reproduction import write
from nndiag.replay.tracing import Program, trace
from nndiag.replay.walking import Walker

_TESTS: tuple[tuple[Kind, Any], ...] = (("nan", np.isnan), ("inf", np.isinf))


def autopsy(
    fn: Callable[..., Any],
    *args: Any,
    look_for: LookFor = "any",
    ignore_masked: bool = True,
    **kwargs: Any,
) -> Autopsy | None:
    """Finds the equation that made the first NaN or Inf, and says why.

    The function is traced and evaluated equation by equation at the given arguments,
    into every `jit`, loop, branch, custom derivative and shard. What makes a NaN where
    none came in, or an Inf where neither came in, is a *birth*; the first whose NaN or
    Inf reaches the output is reported. If the output is finite, a birth is reported
    only where a later equation computed with it and hid it (the float16 overflow under
    a reciprocal, the NaN under an argmax), not where a selection left it out and not
    where the value at a pole did no harm (1/Inf = 0). Where only the compiled program
    fails, the equation is found by compiling ever shorter beginnings of it.

    Prints, debug callbacks and `io_callback`s whose results nobody reads are not
    repeated; a `pure_callback` is.

    Args:
        fn: jitted or not, may differentiate inside. It is traced anew at each call.
        *args: its arguments: pytrees of arrays. Anything else (a module, a string, a
            setting) is closed over with `functools.partial`.
        look_for: `"nan"`, `"inf"`, or `"any"`: a NaN that reaches the output, else
            an Inf that does, else what was absorbed.
        ignore_masked: whether what only a selection dropped is passed over.
        **kwargs: keyword arguments of `fn`, arrays as well.

    Returns:
        The autopsy, `None` if there is nothing to report.

    Raises:
        ProgramError: the function cannot be traced or raises, has no float, reads the
            result of an `io_callback`, or answers differently each time.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> found = autopsy(jax.grad(lambda x: jnp.sqrt(x).sum()), jnp.zeros(2))
        >>> found.primitive, found.kind, found.elements
        ('div', 'inf', ((0,), (1,)))
        >>> autopsy(jnp.sqrt, 4.0) is None
        True
    """
    with compat.plain_evaluation():
        program = trace(fn, args, kwargs)
        found = _examine(program, look_for, ignore_masked)
        if found is None:
            return None
        return dataclasses.replace(
            found, reproduction=functools.partial(write, program, found)
        )


def _examine(
    program: Program, look_for: LookFor, ignore_masked: bool
) -> Autopsy | None:
    story = Story()
    arguments = [
        _argument(story, name, leaf)
        for name, leaf in zip(program.arguments, program.leaves, strict=True)
    ]
    try:
        outputs = Walker(story).walk(program.jaxpr, arguments, Context())
    except ProgramError:
        raise
    except Exception as error:
        text = (str(error).strip().splitlines() or [""])[0]
        raise ProgramError(
            f"the replay could not evaluate the program: {type(error).__name__}: {text}"
        ) from None
    if all(is_finite(value.data) for value in outputs):
        hidden = compiled.find(program, story.notes)
        if hidden is not None and look_for in ("any", hidden.kind):
            return hidden
    verdict = judge(story, outputs, look_for, ignore_masked)
    if verdict is None:
        return None
    if verdict.output is not None and _is_half(story, verdict):
        spoilt = compiled.spoilt(program)
        if verdict.output not in spoilt:
            really = [
                value if number in spoilt else value._replace(labels=CLEAN)
                for number, value in enumerate(outputs)
            ]
            other = judge(story, really, look_for, ignore_masked)
            if other is not None and other.output is not None:
                return _report(program, story, really, other)
            story.note(
                f"output{program.outputs[verdict.output]} of the compiled program is "
                "finite: the compiler computes some half-precision numbers in float32"
            )
    return _report(program, story, outputs, verdict)


def _is_half(story: Story, verdict: Verdict) -> bool:
    """Whether what failed is a number of 16 bits, which a compiler may widen."""
    numbers = (verdict.number, verdict.origin)
    events = [story.events[number] for number in numbers if number is not None]
    return any(np.asarray(event.result).dtype.itemsize == 2 for event in events)


def _argument(story: Story, name: str, leaf: Any) -> Value:
    """An argument; what is bad in it is an event of its own."""
    if is_finite(leaf):
        return Value(leaf)
    data = host(leaf)
    labels = np.zeros(data.shape, np.int32)
    for kind, test in _TESTS:
        bad = test(data)
        if bad.any():
            event = Event(kind, None, (), data, bad, None, argument=name)
            labels[bad] = story.label(frozenset({story.add(event)}))
    return Value(leaf, simplify(labels))


def _report(
    program: Program, story: Story, outputs: Sequence[Value], verdict: Verdict
) -> Autopsy:
    event = story.events[verdict.number]
    reaches = verdict.output is not None
    output = "" if verdict.output is None else program.outputs[verdict.output]
    if event.equation is None:
        return describe_argument(
            event, reaches_output=reaches, output=output, notes=story.notes
        )
    upstream = None if verdict.origin is None else story.events[verdict.origin]
    origin = None if upstream is None else birth_of(upstream)
    symptom = None if verdict.output is None else outputs[verdict.output]
    return describe(
        birth_of(event, origin),
        origin=None if origin is None else describe(origin, reaches_output=reaches),
        chain=way(story, verdict, symptom),
        reaches_output=reaches,
        output=output,
        notes=story.notes,
    )
