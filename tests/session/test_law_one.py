"""Law one: a watched run yields bit-identical parameters, on real networks and data."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mnist_model
from nndiag.probes import level_of, watch
from nndiag.session.program import Program
from nndiag.session.training import Trainer

STEPS = 500
CASES = {
    "relu": {"batch_size": 20, "width": 128},
    "deep-sigmoid": {"batch_size": 20, "optimizer": "adam", "learning_rate": 0.001},
    "cnn": {"batch_size": 16, "channels": 4, "activation": "gelu"},
}


def test_a_difference_of_one_bit_would_be_seen():
    one = np.float32(1.0)
    assert not same_bits({"w": one}, {"w": np.nextafter(one, np.float32(2))})


@pytest.mark.optimised
@pytest.mark.parametrize(
    ("preset", "every"), [("relu", 1), ("relu", 10), ("deep-sigmoid", 10), ("cnn", 10)]
)
def test_500_watched_steps_leave_every_bit_as_it_was(preset, every):
    target = mnist_model.target.with_settings(**mnist_model.target.presets[preset])
    target = target.with_settings(**CASES[preset])
    start = target.init(jax.random.key(0))
    epoch = target.epoch(jax.random.key(1))
    data = jax.tree.map(lambda leaf: leaf[:STEPS], epoch)
    assert len(data.labels) == STEPS
    bare, _ = jax.jit(lambda s, d: jax.lax.scan(target.train_step, s, d))(start, data)

    records = []
    program = Program(target.train_step, level_of("standard"), every=every)
    trainer = Trainer(program, show=records.append)
    watched = trainer.run_stack(start, data, None)
    trainer.finish()

    assert len(records) == STEPS
    assert sum(r.readings is not None for r in records) == STEPS // every
    assert not same_bits(start, bare)
    assert same_bits(watched, bare)


def cross_entropy(scores, labels):
    chances = jax.nn.log_softmax(scores)
    return -jnp.take_along_axis(chances, labels[:, None], 1).mean()


def pieces(p, x, labels):
    """Layers whose weights are slices of one array."""
    for number in range(3):
        x = jnp.tanh(x @ p["w"][number])
    return cross_entropy(x @ p["out"], labels)


def normalised(p, x, labels):
    """A block with attention to itself, a normalisation and a residual branch."""
    h = jax.nn.standardize(x @ p["w"][0])
    weights = jax.nn.softmax(h @ h.T)
    h = h + jax.nn.gelu(weights @ h @ p["w"][1])
    return cross_entropy(h @ p["out"], labels)


def remembered(p, x, labels):
    """Layers in a scan, computed anew for the backward pass."""

    def layer(x, w):
        return jnp.tanh(x @ w), None

    x = jax.checkpoint(lambda x, w: jax.lax.scan(layer, x, w)[0])(x, p["w"])
    return cross_entropy(x @ p["out"], labels)


def critic(p, x, labels):
    """One number for each example, made of one column."""
    for name in ("first", "second"):
        x = jnp.tanh(x @ p[name])
    return jnp.square(x @ p["head"] - labels[:, None]).mean()


@pytest.mark.optimised
@pytest.mark.parametrize(
    ("loss", "level"),
    [
        (pieces, "standard"),
        (remembered, "standard"),
        (critic, "standard"),
        (normalised, "full"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*nndiag")
def test_50_steps_of_adam_leave_every_bit_as_it_was(loss, level):
    keys = jax.random.split(jax.random.key(0), 6)
    x, labels = jax.random.normal(keys[0], (32, 16)), jnp.arange(32) % 4
    shapes = {
        "w": (3, 16, 16),
        "out": (16, 4),
        "first": (16, 16),
        "second": (16, 16),
        "head": (16, 1),
    }
    params = {
        name: 0.3 * jax.random.normal(key, shape)
        for key, (name, shape) in zip(keys[1:], shapes.items(), strict=True)
    }
    adam = optax.adam(1e-2)

    def step(state, batch):
        params, moments = state
        value, gradient = jax.value_and_grad(loss)(params, *batch)
        updates, moments = adam.update(gradient, moments)
        return (optax.apply_updates(params, updates), moments), value

    bare, watched = jax.jit(step), jax.jit(watch(step, level=level))
    ours = theirs = params, adam.init(params)
    for _ in range(50):
        theirs, _ = bare(theirs, (x, labels))
        (ours, _), _ = watched(ours, (x, labels))
    assert same_bits(ours, theirs)


def same_bits(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in pairs)
