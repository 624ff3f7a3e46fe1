"""Law one: a watched run yields bit-identical parameters, on real networks and data."""

import jax
import numpy as np
import pytest

import mnist_model
from nndiag.probes import level_of
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


def same_bits(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in pairs)
