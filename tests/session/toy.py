"""Small targets for the tests of the session."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from nndiag.session import target

ROWS, FEATURES, CLASSES = 64, 6, 3


def data():
    x = jax.random.normal(jax.random.key(5), (ROWS, FEATURES))
    return x, jnp.argmax(x[:, :CLASSES], axis=1)


def init(key):
    a, b = jax.random.split(key)
    return {
        "hidden": jax.random.normal(a, (FEATURES, 8)) / FEATURES**0.5,
        "output": 0.1 * jax.random.normal(b, (8, CLASSES)),
    }


def loss(params, batch):
    x, y = batch
    with jax.named_scope("hidden"):
        h = jnp.tanh(x @ params["hidden"])
    logits = h @ params["output"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def healthy(**changes):
    parts = {"init": init, "loss": loss, "optimizer": optax.adam(1e-2)}
    return target(**(parts | {"data": data(), "batch_size": 8} | changes))


def square_root(params, batch):
    """NaN as soon as the first weight is negative."""
    return loss(params, batch) + 1e-3 * jnp.sqrt(params["hidden"][0, 0])


def breaking():
    """A target whose loss becomes NaN after some steps: its root's argument falls."""

    def falling(params, batch):
        root = jnp.sqrt(params["slide"])
        return loss(params, batch) + root

    def start(key):
        return init(key) | {"slide": jnp.asarray(0.09)}

    return healthy(init=start, loss=falling, optimizer=optax.sgd(0.01))


def patient():
    """A target whose loss is NaN at one batch of each epoch, which it leaves out."""

    def sometimes(params, batch):
        x, _ = batch
        return loss(params, batch) + jnp.log(params["side"] * (LARGEST - x[:, 0].max()))

    def start(key):
        return init(key) | {"side": jnp.asarray(1.0)}

    optimizer = optax.apply_if_finite(optax.sgd(0.0), 3)
    return healthy(init=start, loss=sometimes, optimizer=optimizer)


LARGEST = float(data()[0][:, 0].max())


class Quiet:
    """A target whose loss stays finite while a part of the state becomes NaN."""

    def __init__(self):
        self.inner = healthy()
        self.epoch = self.inner.epoch

    def init(self, key):
        return {"inner": self.inner.init(key), "slide": jnp.asarray(0.25)}

    def train_step(self, state, batch):
        inner, metrics = self.inner.train_step(state["inner"], batch)
        slide = jnp.sqrt(state["slide"]) - 0.3
        return {"inner": inner, "slide": slide}, metrics

    def params(self, state):
        return self.inner.params(state["inner"])


class Fed:
    """A target that feeds batches from the host, as NumPy arrays."""

    def __init__(self):
        self.inner = healthy()
        self.init = self.inner.init
        self.train_step = self.inner.train_step

    def batches(self, key):
        import numpy as np

        stacked = self.inner.epoch(key)
        for i in range(len(stacked[0])):
            yield jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), stacked)


class Misnamed(Fed):
    """Calls its generator of batches `epoch`."""

    def __init__(self):
        super().__init__()
        self.epoch = self.batches


class VectorLoss(Fed):
    def __init__(self):
        super().__init__()

        def train_step(state, batch):
            state, metrics = self.inner.train_step(state, batch)
            return state, {"loss": jnp.stack([metrics["loss"]] * 3)}

        self.train_step = train_step


class Interrupted(Fed):
    """Raises what Ctrl-C raises, in the middle of the second epoch."""

    def __init__(self, error=KeyboardInterrupt):
        super().__init__()
        self.epochs_begun = 0
        self.error = error

    def batches(self, key):
        self.epochs_begun += 1
        for i, batch in enumerate(super().batches(key)):
            if self.epochs_begun == 2 and i == 3:
                raise self.error("stopped here")
            yield batch


healthy_target = healthy()
breaking_target = breaking()
patient_target = patient()
quiet_target = Quiet()
fed_target = Fed()
vector_target = VectorLoss()
misnamed_target = Misnamed()
interrupted_target = Interrupted()
failing_target = Interrupted(RuntimeError)
no_target = object()
number = 3
