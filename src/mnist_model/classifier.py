"""The program as one object, for whoever wants to train, probe or tune it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mnist_model.data import load
from mnist_model.errors import SettingsError
from mnist_model.network import Params, initialise
from mnist_model.optimization import build_optimizer
from mnist_model.presets import PRESETS
from mnist_model.settings import Settings
from mnist_model.training import (
    Batch,
    State,
    loss_and_accuracy,
    shuffle_into_batches,
    take_step,
)


@dataclass(frozen=True)
class Classifier:
    """A classifier of 28×28 images into ten classes, untrained.

    The data are read when `epoch` or `evaluate` first need them.

    Attributes:
        settings: every knob.

    Example:
        >>> import mnist_model
        >>> relu = mnist_model.target.with_settings(activation="relu", depth="3")
        >>> relu.settings.depth
        3
    """

    settings: Settings = PRESETS["deep-sigmoid"]

    @property
    def presets(self) -> Mapping[str, dict[str, Any]]:
        """All settings of each preset, by its name; the first is the default."""
        return {name: dataclasses.asdict(preset) for name, preset in PRESETS.items()}

    def with_settings(self, **changes: Any) -> Classifier:
        """This classifier with some settings changed; text is converted.

        Raises:
            SettingsError: if a name or a value is unknown.
        """
        return Classifier(self.settings.changed(**changes))

    def init(self, key: jax.Array) -> State:
        """Fresh parameters and optimizer state, drawn with `key`."""
        params = initialise(key, self.settings)
        return State(params, self.optimizer.init(params), jnp.zeros((), jnp.int32))

    def loss(self, params: Params, batch: Batch) -> jax.Array:
        """The mean loss over the batch, a scalar."""
        return loss_and_accuracy(params, batch, self.settings)[0]

    def train_step(
        self, state: State, batch: Batch
    ) -> tuple[State, dict[str, jax.Array]]:
        """One step; the metrics are the batch's ``"loss"`` and ``"accuracy"``."""
        return take_step(state, batch, self.settings, self.optimizer)

    def epoch(self, key: jax.Array) -> Batch:
        """The training set, shuffled by `key` and stacked [steps, batch, …].

        Raises:
            DataError: if the data cannot be read.
            SettingsError: if the batch is larger than the training set.
        """
        train, _ = _on_device(self.settings.data, self.settings.input_scaling)
        if (size := self.settings.batch_size) > len(train.labels):
            raise SettingsError(
                f"batch_size={size} is more than the {len(train.labels)} training"
                " examples; lower it"
            )
        return shuffle_into_batches(key, train, batch_size=size)

    def evaluate(self, state: State) -> dict[str, float]:
        """Loss and accuracy on the test set.

        Raises:
            DataError: if the data cannot be read.
        """
        _, test = _on_device(self.settings.data, self.settings.input_scaling)
        loss, accuracy = self._evaluate(state.params, test)
        return {"test_accuracy": float(accuracy), "test_loss": float(loss)}

    @cached_property
    def optimizer(self) -> optax.GradientTransformationExtraArgs:
        """The Optax optimizer; a schedule that decays needs the size of the data."""
        steps = 0
        if self.settings.schedule != "constant":
            train, _ = _on_device(self.settings.data, self.settings.input_scaling)
            per_epoch = len(train.labels) // self.settings.batch_size
            steps = max(1, per_epoch * self.settings.epochs)
        return build_optimizer(self.settings, steps)

    @cached_property
    def _evaluate(self) -> Any:
        return jax.jit(partial(loss_and_accuracy, settings=self.settings))


@lru_cache(maxsize=1)
def _on_device(path: str, scaling: str) -> tuple[Batch, Batch]:
    data = load(path or None)
    scale = _scaler(scaling, data.train_images)
    # Whoever traces `epoch` must not leave tracers in this cache.
    with jax.ensure_compile_time_eval():
        return (
            _batch(scale(data.train_images), data.train_labels),
            _batch(scale(data.test_images), data.test_labels),
        )


def _batch(images: np.ndarray, labels: np.ndarray) -> Batch:
    return Batch(jax.device_put(images), jax.device_put(labels.astype(np.int32)))


def _scaler(scaling: str, images: np.ndarray) -> Any:
    """The map from bytes to what the network reads; statistics are of `images`."""
    if scaling == "standard":
        offset, divisor = float(images.mean()), float(images.std()) or 1.0
    else:
        offset, divisor = {
            "raw": (0.0, 1.0),
            "unit": (0.0, 255.0),
            "symmetric": (127.5, 127.5),
        }[scaling]
    return lambda pixels: (pixels.astype(np.float32) - offset) / np.float32(divisor)
