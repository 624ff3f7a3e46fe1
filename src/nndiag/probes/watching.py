"""`watch`: a function that also returns what happened inside it."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from nndiag.errors import ProgramError, SettingError
from nndiag.jaxprs import compat
from nndiag.jaxprs.marks import Mark, next_call, place
from nndiag.probes.collecting import Collector
from nndiag.probes.harvest import Harvest, readings
from nndiag.probes.level import Level, level_of
from nndiag.probes.marking import marked_vjp
from nndiag.probes.packing import PackedReadings, pack
from nndiag.probes.pairing import pair
from nndiag.probes.partition import Partition
from nndiag.probes.selection import patterns
from nndiag.records import Site


def watch(
    fn: Callable[..., Any],
    *,
    level: str | Level = "standard",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> Callable[..., tuple[Any, PackedReadings]]:
    """A function of the same arguments that returns `(fn's output, Readings)`.

    Every gradient that `fn` takes with `jax.grad` or `jax.value_and_grad` is seen,
    wherever the call stands: in `fn`, in a function it calls, jitted or not, in a
    library. Measuring adds operations that read, and none that write: compiled by
    `jax.jit`, a step that differentiates once gives the bits that `jax.jit(fn)` gives.
    (Where `fn` differentiates twice, or takes gradients under `jax.vmap`, another
    reader of a value can make XLA fuse differently, and the last bit may differ.)

    The result is pure and composes with `jax.jit`, `jax.vmap`, `jax.lax.scan`; under
    the latter two the readings gain leading axes. Readings from a scan inside `fn` have
    one for its iterations; those of a `cond` branch not taken are NaN.

    A fault of nndiag is one warning: the output is then that of `fn`, without readings.

    Parameters are followed from input to output: where an argument of `fn` has the
    structure of one of its outputs (a state, a parameter tree), the difference is the
    update.

    Args:
        fn: a training step, `(state, batch) -> (state, metrics)` or any other
            function that JAX can trace.
        level: `"light"` (loss, gradient norms, finite or not), `"standard"`, `"full"`
            (also histograms, each unit, the gradient norm of each example), or a
            `nndiag.probes.Level`.
        include: patterns of the places to measure, all if there is none: names of
            places or of scopes around them, in which ``*`` stands for any characters
            (``"blocks*/mlp"``). The loss is always measured.
        exclude: patterns of places not to measure.

    Raises:
        SettingError: the level is unknown; when called, a pattern matches no place.
        ProgramError: when called, if `fn` takes no gradient of a scalar loss.

    Example:
        >>> import jax
        >>> def step(w, x):
        ...     loss, g = jax.value_and_grad(lambda w: jnp.tanh(x @ w).sum())(w)
        ...     return w - 0.1 * g, loss
        >>> (w, loss), readings = jax.jit(watch(step))(jnp.ones(2), jnp.ones((3, 2)))
        >>> round(float(readings.gradient["parameter"].norm), 3)
        0.3
        >>> round(float(readings.update["parameter"].cosine), 4)
        1.0
    """
    chosen = level_of(level)
    chosen = chosen._replace(
        include=(*chosen.include, *patterns(include, "include")),
        exclude=(*chosen.exclude, *patterns(exclude, "exclude")),
    )

    @functools.wraps(fn)
    def watched(*args: Any, **kwargs: Any) -> tuple[Any, PackedReadings]:
        try:
            return _watch_call(fn, chosen, args, kwargs)
        except (ProgramError, SettingError):
            raise
        except Exception as error:
            # If the fault is fn's own, it is raised again here, as without a watch.
            output = fn(*args, **kwargs)
            warnings.warn(_faulty(fn, error), stacklevel=2)
            return output, pack(readings(Harvest.empty()))

    return watched


def _watch_call(
    fn: Callable[..., Any], level: Level, args: Any, kwargs: Any
) -> tuple[Any, PackedReadings]:
    arguments, result = Partition(), Partition()
    inputs = arguments.split((args, kwargs))

    def flat(*values: Any) -> list[Any]:
        positional, named = arguments.join(values)
        return result.split(fn(*positional, **named))

    differentiate = functools.partial(marked_vjp, examples=level.examples)
    with compat.intercepted_gradients(differentiate):
        closed = compat.trace(flat, *inputs)
    jaxpr = compat.open_jaxpr(closed)
    collector = Collector(level, jaxpr)
    outputs, harvest, flow = collector.run(jaxpr, compat.constants(closed), inputs)
    if not harvest.losses:
        raise ProgramError(_no_gradient(fn, collector.missed))
    collector.selection.require_use()
    if collector.missed:
        warnings.warn(_missed(fn, collector.missed), stacklevel=3)
    output = result.join(outputs)
    given, returned = (arguments, (args, kwargs)), (result, output)
    pairs = pair(jaxpr, given, returned, set(flow.origins.values()))
    collector.read_updates(harvest, flow, pairs, inputs, outputs)
    return output, pack(readings(harvest))


def tap(value: Any, name: str) -> Any:
    """Returns `value`; inside a `watch` it is also reported under `name`.

    Args:
        value: an array.
        name: key of the reading in `Readings.value` and, where the gradient flows
            through `value`, in `Readings.cotangent`.

    Example:
        >>> import jax
        >>> def step(w, x):
        ...     return jax.grad(lambda w: tap(x @ w, "score").sum())(w)
        >>> _, readings = watch(step)(jnp.ones(2), jnp.ones((3, 2)))
        >>> float(readings.value["score"].mean)
        2.0
    """
    if not compat.is_watching():
        return value
    value = jnp.asarray(value)
    site = Site(name, kind="tap", dtype=str(value.dtype), shape=value.shape)
    return place(Mark("value", site, next_call()), value)


def _no_gradient(fn: Callable[..., Any], missed: set[str]) -> str:
    name = getattr(fn, "__name__", repr(fn))
    if missed:
        return (
            f"{name} takes its gradient inside {', '.join(sorted(missed))}, which "
            "nndiag cannot enter; watch the function inside it instead"
        )
    return (
        f"{name} takes no gradient of a floating-point scalar with jax.grad or "
        "jax.value_and_grad, so there is nothing to watch; watch the training step"
    )


def _missed(fn: Callable[..., Any], missed: set[str]) -> str:
    name = getattr(fn, "__name__", repr(fn))
    return (
        f"nndiag evaluated {', '.join(sorted(missed))} in {name} whole: what happens "
        "inside is not in the readings"
    )


def _faulty(fn: Callable[..., Any], error: Exception) -> str:
    name = getattr(fn, "__name__", repr(fn))
    text = " ".join(str(error).split())[:300]
    return (
        f"nndiag could not watch {name}, which runs unwatched: "
        f"{type(error).__name__}: {text}"
    )
