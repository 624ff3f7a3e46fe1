"""`watch`: a function that also returns what happened inside it."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from nndiag.errors import ProgramError
from nndiag.jaxprs import compat
from nndiag.jaxprs.marks import Mark, place
from nndiag.probes.collecting import Collector, Harvest
from nndiag.probes.level import Level, level_of
from nndiag.probes.marking import marked_vjp
from nndiag.probes.partition import Partition, is_array
from nndiag.records import Readings, Site


def watch(
    fn: Callable[..., Any], *, level: str | Level = "standard"
) -> Callable[..., tuple[Any, Readings]]:
    """A function of the same arguments that returns `(fn's output, Readings)`.

    Every gradient that `fn` takes with `jax.grad` or `jax.value_and_grad` is seen,
    wherever the call stands: in `fn`, in a function it calls, jitted or not, in a
    library. The output is bit for bit that of `fn`: measuring adds operations that
    read, and none that write. The result is pure and composes with `jax.jit`,
    `jax.vmap`, `jax.lax.scan`; under the latter two the readings gain leading axes.

    Parameters are followed from input to output: where an argument of `fn` has the
    structure of one of its outputs (a state, a parameter tree), the difference is the
    update.

    Args:
        fn: a training step, `(state, batch) -> (state, metrics)` or any other
            function that JAX can trace.
        level: `"light"` (loss, gradient norms, finite or not), `"standard"`, or a
            `nndiag.probes.Level`.

    Raises:
        SettingError: the level is unknown.
        ProgramError: when called, if `fn` takes no gradient of a scalar loss.

    Example:
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

    @functools.wraps(fn)
    def watched(*args: Any, **kwargs: Any) -> tuple[Any, Readings]:
        arguments, result = Partition(), Partition()
        inputs = arguments.split((args, kwargs))

        def flat(*values: Any) -> list[Any]:
            positional, named = arguments.join(values)
            return result.split(fn(*positional, **named))

        with compat.intercepted_gradients(marked_vjp):
            jaxpr = compat.trace(flat, *inputs)
        collector = Collector(chosen)
        outputs, harvest, origins = collector.run(
            compat.open_jaxpr(jaxpr), compat.constants(jaxpr), inputs
        )
        if not harvest.stats["gradient"]:
            raise ProgramError(_no_gradient(fn, collector.missed))
        if collector.missed:
            warnings.warn(_missed(fn, collector.missed), stacklevel=2)
        pairs = _pairs(arguments, result, (args, kwargs), result.join(outputs))
        collector.read_updates(harvest, origins, pairs, inputs, outputs)
        return result.join(outputs), _readings(harvest)

    return watched


def tap(value: Any, name: str) -> Any:
    """Returns `value`; inside a `watch` it is also reported under `name`.

    Args:
        value: an array.
        name: key of the reading in `Readings.value` and, where the gradient flows
            through `value`, in `Readings.cotangent`.

    Example:
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
    return place(Mark("value", site), value)


def _readings(harvest: Harvest) -> Readings:
    stats = harvest.stats
    checked: list[Any] = list(harvest.losses)
    for role in ("gradient", "update"):
        checked += [site.norm for site in stats[role].values()]
    finite = [jnp.isfinite(value) for value in checked]
    return Readings(
        loss=harvest.losses[0] if harvest.losses else None,
        finite=functools.reduce(jnp.logical_and, finite).astype(jnp.float32),
        value=stats["value"],
        cotangent=stats["cotangent"],
        parameter=stats["parameter"],
        gradient=stats["gradient"],
        update=stats["update"],
    )


def _pairs(
    arguments: Partition, result: Partition, given: Any, returned: Any
) -> dict[int, int]:
    """From the number of an input array to that of the output that replaces it."""
    taken = list(_subtrees(returned, 0))
    pairs: dict[int, int] = {}
    inputs, outputs = arguments.positions(), result.positions()
    offset = 0
    for argument in [*given[0], *given[1].values()]:
        leaves, structure = jax.tree.flatten(argument)
        for number, (start, subtree) in enumerate(taken):
            others, other_structure = jax.tree.flatten(subtree)
            if leaves and structure == other_structure and _alike(leaves, others):
                pairs |= {
                    inputs[offset + i]: outputs[start + i]
                    for i in range(len(leaves))
                    if offset + i in inputs and start + i in outputs
                }
                del taken[number]
                break
        offset += len(leaves)
    return pairs


def _subtrees(tree: Any, offset: int) -> Iterator[tuple[int, Any]]:
    """The parts of an output that may be a new state, and where their leaves begin."""
    yield offset, tree
    if type(tree) in (tuple, list):
        for part in tree:
            yield from _subtrees(part, offset)
            offset += len(jax.tree.leaves(part))


def _alike(leaves: Sequence[Any], others: Sequence[Any]) -> bool:
    return all(
        jnp.shape(a) == jnp.shape(b) and jnp.result_type(a) == jnp.result_type(b)
        for a, b in zip(leaves, others, strict=True)
        if is_array(a) and is_array(b)
    )


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
