"""Every knob of the program."""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

from mnist_model.errors import SettingsError

Model = Literal["mlp", "cnn"]
Activation = Literal[
    "sigmoid",
    "tanh",
    "relu",
    "leaky_relu",
    "gelu",
    "silu",
    "softplus",
    "elu",
    "identity",
]
Initialisation = Literal[
    "normal", "uniform", "lecun", "glorot", "he", "orthogonal", "constant"
]
Loss = Literal["cross_entropy", "squared"]
Optimizer = Literal["sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw", "lion"]
Schedule = Literal["constant", "cosine", "warmup_cosine"]
InputScaling = Literal["raw", "unit", "symmetric", "standard"]


def _number(default: float, *, least: float = 0.0, below: float = math.inf) -> Any:
    """A number in the half-open interval [least, below)."""
    return field(default=default, metadata={"least": least, "below": below})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every knob of the program; text is converted to the type of its field.

    Attributes:
        model: ``"mlp"``, or ``"cnn"``: two convolutions and a dense layer.
        depth: hidden layers of the MLP; the CNN has always three.
        width: units of each hidden layer of the MLP, of the dense layer of the CNN.
        channels: of the first convolution; the second has twice as many.
        activation: of the hidden layers, a name in `jax.nn`.
        output_activation: of the output layer; ``"identity"`` leaves logits.
        initialisation: of the weights, see `mnist_model.initialisation`.
        initialisation_scale: σ of ``"normal"``, limit of ``"uniform"``, value of
            ``"constant"``; for the others a factor on what they prescribe.
        bias_scale: σ of the normally distributed initial biases.
        output_scale: a factor on the initial weights of the output layer.
        loss: ``"cross_entropy"`` of the softmax of the outputs in nats, or
            ``"squared"`` distance of the outputs from the one-hot label; the mean
            over the batch.
        optimizer: by its name in Optax; ``"momentum"`` and ``"nesterov"`` are SGD.
        learning_rate: the peak of the schedule.
        momentum: of ``"momentum"`` and ``"nesterov"``.
        weight_decay: of ``"adamw"`` and ``"lion"``.
        schedule: ``"cosine"`` falls to zero over the run, ``"warmup_cosine"`` rises
            from zero over its first tenth.
        batch_size: examples in a step.
        epochs: passes over the training set.
        data: path to the data, see `mnist_model.data.load`; empty for the bundled.
        input_scaling: ``"raw"`` keeps 0 to 255, ``"unit"`` maps to [0, 1],
            ``"symmetric"`` to [−1, 1], ``"standard"`` to mean 0 and deviation 1
            over the training set.

    Raises:
        SettingsError: if a value is unknown or out of range.

    Example:
        >>> Settings(activation="relu", depth="3").depth
        3
        >>> Settings(activation="rely")
        Traceback (most recent call last):
            ...
        mnist_model.errors.SettingsError: activation='rely' is unknown; did you mean \
'relu'? Known: sigmoid, tanh, relu, leaky_relu, gelu, silu, softplus, elu, identity
    """

    model: Model = "mlp"
    depth: int = _number(2)
    width: int = _number(128, least=1)
    channels: int = _number(8, least=1)
    activation: Activation = "relu"
    output_activation: Activation = "identity"
    initialisation: Initialisation = "he"
    initialisation_scale: float = _number(1.0)
    bias_scale: float = _number(0.0)
    output_scale: float = _number(1.0)
    loss: Loss = "cross_entropy"
    optimizer: Optimizer = "sgd"
    learning_rate: float = _number(0.1)
    momentum: float = _number(0.9, below=1.0)
    weight_decay: float = _number(1e-4)
    schedule: Schedule = "constant"
    batch_size: int = _number(128, least=1)
    epochs: int = _number(5, least=1)
    data: str = ""
    input_scaling: InputScaling = "unit"

    def __post_init__(self) -> None:
        """Convert and check each value."""
        kinds = typing.get_type_hints(Settings)
        for knob in dataclasses.fields(self):
            value = _checked(knob, kinds[knob.name], getattr(self, knob.name))
            object.__setattr__(self, knob.name, value)

    def changed(self, **changes: Any) -> Settings:
        """These settings with `changes`; an unknown name is a `SettingsError`."""
        names = [knob.name for knob in dataclasses.fields(self)]
        for name in changes:
            if name not in names:
                raise SettingsError(f"setting {name!r} {unknown(name, names)}")
        return dataclasses.replace(self, **changes)


def unknown(name: str, known: typing.Iterable[str]) -> str:
    """The end of a sentence about a name that is not among the known ones.

    Example:
        >>> unknown("rely", ["relu", "tanh"])
        "is unknown; did you mean 'relu'? Known: relu, tanh"
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"is unknown; {hint}Known: {', '.join(known)}"


def _checked(knob: dataclasses.Field[Any], kind: Any, value: Any) -> Any:
    if choices := typing.get_args(kind):
        if value not in choices:
            raise SettingsError(f"{knob.name}={value!r} {unknown(str(value), choices)}")
        return value
    if kind is str:
        if not isinstance(value, (str, os.PathLike)):
            raise SettingsError(f"{knob.name}={value!r} is not a path")
        return os.fspath(value)
    return _checked_number(knob, kind, value)


def _checked_number(
    knob: dataclasses.Field[Any], kind: type[int | float], value: Any
) -> int | float:
    least, below = knob.metadata["least"], knob.metadata["below"]
    article = "a whole number" if kind is int else "a number"
    expected = f"{article} of at least {least:g}"
    if below < math.inf:
        expected += f" and below {below:g}"
    try:
        number = kind(value)
        if isinstance(value, bool) or (number != value and not isinstance(value, str)):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not (least <= number < below):
        raise SettingsError(f"{knob.name}={value!r} is not {expected}")
    return number
