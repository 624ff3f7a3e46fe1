"""How the network is trained: a step, a shuffled epoch, a run."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from mnist_model.network import CLASSES, Params, apply
from mnist_model.settings import Settings

if TYPE_CHECKING:
    from mnist_model.classifier import Classifier


class Batch(NamedTuple):
    """Examples: scaled `images` [batch, 28, 28] and integer `labels` [batch]."""

    images: jax.Array
    labels: jax.Array


class State(NamedTuple):
    """All that a step changes."""

    params: Params
    optimizer_state: optax.OptState
    step: jax.Array


def loss_and_accuracy(
    params: Params, batch: Batch, settings: Settings
) -> tuple[jax.Array, jax.Array]:
    """The mean loss over the batch, and the share of labels that it gets right.

    Cross-entropy is −log softmax(z)_y in nats, for outputs z and label y; the squared
    loss is Σ_c (z_c − [c = y])².
    """
    outputs = apply(params, batch.images, settings)
    if settings.loss == "squared":
        targets = jax.nn.one_hot(batch.labels, CLASSES)
        losses = jnp.sum((outputs - targets) ** 2, axis=-1)
    else:
        losses = optax.softmax_cross_entropy_with_integer_labels(outputs, batch.labels)
    hits = jnp.argmax(outputs, axis=-1) == batch.labels
    return jnp.mean(losses), jnp.mean(hits)


def take_step(
    state: State,
    batch: Batch,
    settings: Settings,
    optimizer: optax.GradientTransformationExtraArgs,
) -> tuple[State, dict[str, jax.Array]]:
    """Follow the gradient of one batch; also return its loss and accuracy."""
    (loss, accuracy), gradients = jax.value_and_grad(loss_and_accuracy, has_aux=True)(
        state.params, batch, settings
    )
    updates, optimizer_state = optimizer.update(
        gradients, state.optimizer_state, state.params
    )
    params = cast(Params, optax.apply_updates(state.params, updates))
    return (
        State(params, optimizer_state, state.step + 1),
        {"loss": loss, "accuracy": accuracy},
    )


@partial(jax.jit, static_argnames="batch_size")
def shuffle_into_batches(key: jax.Array, examples: Batch, *, batch_size: int) -> Batch:
    """All examples in random order, stacked [steps, batch, …], without the last few.

    An incomplete batch at the end is dropped; the next shuffle leaves out others.
    """
    count = len(examples.labels)
    steps = count // batch_size
    order = jnp.argsort(jax.random.bits(key, (count,)))[: steps * batch_size]
    order = order.reshape(steps, batch_size)
    return jax.tree.map(lambda array: array[order], examples)


class Epoch(NamedTuple):
    """How an epoch went: means over its steps, and the held-out metrics after it."""

    number: int
    loss: float
    accuracy: float
    test_accuracy: float
    test_loss: float


def train(target: Classifier, key: jax.Array) -> Iterator[Epoch]:
    """Train from scratch, a whole epoch at a time on the device.

    The same key gives the same run.
    """
    run_epoch = jax.jit(partial(jax.lax.scan, target.train_step), donate_argnums=0)
    init_key, shuffle_key = jax.random.split(key)
    state = target.init(init_key)
    for number in range(1, target.settings.epochs + 1):
        batches = target.epoch(jax.random.fold_in(shuffle_key, number))
        state, metrics = run_epoch(state, batches)
        yield Epoch(
            number=number,
            loss=float(jnp.mean(metrics["loss"])),
            accuracy=float(jnp.mean(metrics["accuracy"])),
            **target.evaluate(state),
        )
