"""Optimizers and schedules, from Optax."""

from __future__ import annotations

import optax

from mnist_model.settings import Settings

WARMUP_SHARE = 0.1


def learning_rate_schedule(settings: Settings, steps: int) -> optax.Schedule:
    """The learning rate as a function of the step, over a run of `steps`."""
    peak = settings.learning_rate
    if settings.schedule == "cosine":
        return optax.cosine_decay_schedule(peak, steps)
    if settings.schedule == "warmup_cosine":
        warmup = max(1, round(WARMUP_SHARE * steps))
        return optax.warmup_cosine_decay_schedule(0.0, peak, warmup, max(steps, 2))
    return optax.constant_schedule(peak)


def build_optimizer(
    settings: Settings, steps: int
) -> optax.GradientTransformationExtraArgs:
    """The optimizer that `settings` name, for a run of `steps`."""
    rate = learning_rate_schedule(settings, steps)
    match settings.optimizer:
        case "sgd":
            return optax.sgd(rate)
        case "momentum":
            return optax.sgd(rate, settings.momentum)
        case "nesterov":
            return optax.sgd(rate, settings.momentum, nesterov=True)
        case "rmsprop":
            return optax.rmsprop(rate)
        case "adam":
            return optax.adam(rate)
        case "adamw":
            return optax.adamw(rate, weight_decay=settings.weight_decay)
        case "lion":
            return optax.lion(rate, weight_decay=settings.weight_decay)
