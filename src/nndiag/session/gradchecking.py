"""`nndiag gradcheck`: gradients of a function, a target, or the bundled model."""

from __future__ import annotations

import contextlib
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from nndiag.errors import NndiagError, ProgramError, SettingError, TargetError
from nndiag.gradcheck import check_grads
from nndiag.protocol import Target
from nndiag.records import Autopsy, GradCheck
from nndiag.replay import autopsy
from nndiag.session.arguments import Arguments, find_arguments, outline
from nndiag.session.loading import configure, is_target, load_object, load_target
from nndiag.session.program import settle
from nndiag.session.running import bad_input, keys
from nndiag.session.training import epochs
from nndiag.session.wording import name_and_text

BUNDLED = "mnist_model:target"

_SMALL = {
    "depth": 2,
    "width": 8,
    "channels": 2,
    "batch_size": 4,
    # zero biases would put the black corners of an image onto the kink of a relu
    "bias_scale": 0.5,
}
"""The bundled model, small enough to check all of it in seconds."""


class NonfinitePoint(ProgramError):
    """The function or its gradient is NaN or Inf at the point.

    Attributes:
        autopsy: which equation made it so.
    """

    def __init__(self, message: str, autopsy: Autopsy) -> None:
        super().__init__(message)
        self.autopsy = autopsy


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """Options of `nndiag gradcheck`.

    Attributes:
        subject: import string of a target or of a function; `None` for the bundled
            model with each of its activations.
        gradient: import string of a gradient written by hand, called with the same
            arguments; `None` for the one that JAX takes.
        at: file with the arguments of a function, arrays by name.
        argnums: which arguments to differentiate by; `None` for all that are floating
            of a function, for the parameters of a target.
        order: 1, or 2 for the Hessian as well.
        seed: of all that is drawn at random.
        preset: name of one of the target's presets.
        changes: settings of the target to change, by name.
        data: where the target's data are, given to its `data` setting.
    """

    subject: str | None = None
    gradient: str | None = None
    at: Path | None = None
    argnums: tuple[int, ...] | None = None
    order: int = 1
    seed: int = 0
    preset: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    data: str | None = None

    def __post_init__(self) -> None:
        """Checks the numbers."""
        if self.order not in (1, 2):
            raise SettingError(f"--order is {self.order}; it must be 1 or 2")


def check_gradients(options: CheckOptions) -> tuple[GradCheck, ...]:
    """Checks what the options name.

    Returns:
        One check for a function or a target; of the bundled model one for each of its
        activations and models.

    Raises:
        TargetError: something cannot be imported or set up.
        SettingError: a setting is unknown, or the arguments do not fit.
        NonfinitePoint: there is a NaN or Inf at the point.
        ProgramError: the function cannot be checked.
    """
    gradient = None
    if options.gradient is not None:
        _, gradient = load_object(options.gradient)
        if not callable(gradient):
            raise TargetError(f"{options.gradient} is not a function")
    if options.subject is None:
        return tuple(_check_bundled(options, gradient))
    module, found = load_object(options.subject)
    if found is not module and callable(found) and not is_target(found):
        _require_no_settings(options)
        return (_check_function(options, module, found, gradient),)
    if options.at is not None:
        raise SettingError("--at is for functions; a target makes its own arguments")
    target = _configure(options, load_target(options.subject), options.changes)
    start = _start(options, target, options.subject)
    return (_check_loss(options, target, options.subject, start, gradient),)


def _check_bundled(
    options: CheckOptions, gradient: Callable[..., Any] | None
) -> Iterator[GradCheck]:
    if options.at is not None:
        raise SettingError("--at is for functions; name one, such as model.py:loss")
    target = load_target(BUNDLED)
    kinds = typing.get_type_hints(type(target.settings))  # type: ignore[attr-defined]
    variants = [
        *(("mlp", activation) for activation in typing.get_args(kinds["activation"])),
        ("cnn", "relu"),
    ]
    points: dict[str, Arguments] = {}
    with _quick_compilation():
        for model, activation in variants:
            changes = {**_SMALL, "model": model, "activation": activation}
            small = _configure(options, target, {**changes, **options.changes})
            # an activation changes neither the parameters nor the data
            if model not in points:
                points[model] = _start(options, small, BUNDLED)
            check = _check_loss(options, small, BUNDLED, points[model], gradient)
            yield replace(check, function=f"{model}, {activation}")


@contextlib.contextmanager
def _quick_compilation() -> Iterator[None]:
    """Programs that run for a moment are not worth what optimizing them takes."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


def _configure(
    options: CheckOptions, target: Target, changes: Mapping[str, Any]
) -> Target:
    if options.data is not None:
        changes = {**changes, "data": options.data}
    return configure(target, preset=options.preset, changes=changes)


def _start(options: CheckOptions, target: Target, name: str) -> Arguments:
    """The first parameters and the first batch of a run."""
    init_key, data_key = keys(options.seed)
    with bad_input("the target cannot be set up"):
        params = _params(target, settle(target.init(init_key)), name)
        stack = next(next(epochs(target, data_key, 1)))
    batch = jax.tree.map(lambda stacked: stacked[0], stack)
    return Arguments((params, batch), {}, name)


def _check_loss(
    options: CheckOptions,
    target: Target,
    name: str,
    arguments: Arguments,
    gradient: Callable[..., Any] | None,
) -> GradCheck:
    """The loss of a target, differentiated by its parameters."""
    loss = getattr(target, "loss", None)
    if not callable(loss):
        raise TargetError(
            f"{name} has no loss(params, batch), whose gradient could be checked"
        )
    if options.argnums is None:
        options = replace(options, argnums=(0,))
    return replace(_check(options, loss, arguments, gradient), function=name)


def _params(target: Target, state: Any, name: str) -> Any:
    if callable(getattr(target, "params", None)):
        return target.params(state)  # type: ignore[attr-defined]
    if hasattr(state, "params"):
        return state.params
    if isinstance(state, Mapping) and "params" in state:
        return typing.cast("Mapping[str, Any]", state)["params"]
    raise TargetError(
        f"{name} does not say which part of its state are parameters; let the state "
        "have params, or the target a function params(state)"
    )


def _check_function(
    options: CheckOptions,
    module: Any,
    function: Callable[..., Any],
    gradient: Callable[..., Any] | None,
) -> GradCheck:
    name = getattr(function, "__name__", str(options.subject))
    arguments = find_arguments(function, name, module, options.at)
    return _check(options, function, arguments, gradient)


def _require_no_settings(options: CheckOptions) -> None:
    for word in ("preset", "changes", "data"):
        if getattr(options, word):
            flag = "set" if word == "changes" else word
            raise SettingError(
                f"--{flag} is for targets; {options.subject} is a function"
            )


def _check(
    options: CheckOptions,
    function: Callable[..., Any],
    arguments: Arguments,
    gradient: Callable[..., Any] | None,
) -> GradCheck:
    how: dict[str, Any] = dict(arguments.kwargs)
    if options.argnums is not None:
        how["argnums"] = options.argnums
    try:
        return check_grads(
            function,
            *arguments.args,
            gradient=gradient,
            order=options.order,
            key=jax.random.key(options.seed),
            **how,
        )
    except NndiagError as error:
        _require_call(function, arguments, error)
        found = _autopsy(function, arguments, options.argnums)
        if found is not None:
            raise NonfinitePoint(str(error), found) from error
        raise
    except Exception as error:
        which = "the function" if gradient is None else "the function or its gradient"
        raise ProgramError(f"{which} raised {name_and_text(error)}") from error


def _require_call(
    function: Callable[..., Any], arguments: Arguments, told: NndiagError
) -> None:
    """Adds the arrays to what was told, if the function cannot be called with them."""
    try:
        function(*arguments.args, **arguments.kwargs)
    except Exception as error:
        shapes = outline(function, arguments)
        raise SettingError(f"{told}; {arguments.source} has {shapes}") from error


def _autopsy(
    function: Callable[..., Any],
    arguments: Arguments,
    argnums: tuple[int, ...] | None,
) -> Autopsy | None:
    """What made a NaN or Inf, if there is one and the function can be replayed."""
    argnums = tuple(range(len(arguments.args))) if argnums is None else argnums
    graded = jax.value_and_grad(function, argnums, allow_int=True)
    try:
        args = jax.tree.map(jnp.asarray, arguments.args)
        made = graded(*args, **arguments.kwargs)
        floats = [
            leaf
            for leaf in jax.tree.leaves(made)
            if jnp.issubdtype(leaf.dtype, jnp.inexact)
        ]
        if all(bool(jnp.isfinite(leaf).all()) for leaf in floats):
            return None
        return autopsy(graded, *args, **arguments.kwargs)
    except Exception:  # the error of the check says more than one of its autopsy
        return None
