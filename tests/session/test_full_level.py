"""The level "full" through a whole run: measured, packed, stored, read, exported."""

import csv
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nndiag
from nndiag import export, store
from nndiag.errors import SettingError
from nndiag.probes import level_of
from nndiag.records import HISTOGRAM_BINS
from nndiag.session.options import RunOptions
from nndiag.session.program import Program
from nndiag.session.running import run
from nndiag.session.training import Trainer
from nndiag.store.schema import DATABASE

sys.path.insert(0, str(Path(__file__).parent))
from toy import healthy

EVERY, STEPS = 2, 8


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A run of eight steps at the level "full", recorded every second step."""
    out = tmp_path_factory.mktemp("full") / "run"
    options = RunOptions(
        target="toy:healthy_target",
        tier="full",
        every=EVERY,
        steps=STEPS,
        out=out,
        dpi=40,
    )
    return run(options).path


def test_the_header_says_what_was_watched(path) -> None:
    assert store.read(path).header.watched == (
        "saturation", "gradients", "updates", "overflow",
        "histograms", "units", "examples",
    )  # fmt: skip


def test_histograms_and_units_are_stored_of_few_steps(path) -> None:
    run = store.read(path)
    kept = {step for *_, step in run.vectors}
    assert kept == {0, 2, 4, 6}
    sizes = {"hidden": 6 * 8, "output": 8 * 3}
    for (role, quantity, site, _), array in run.vectors.items():
        if quantity == "units":
            assert (role, site.kind, array.shape) == ("value", "activation", (2, 8))
            assert (np.abs(array[0]) <= 1).all()
            assert ((array[1] >= 0) & (array[1] <= 1)).all()
        else:
            assert role in ("gradient", "update")
            assert array.shape == (HISTOGRAM_BINS,)
            assert array.sum() == sizes[site]


def test_the_hardest_examples_of_each_recorded_step_are_stored(path) -> None:
    run = store.read(path)
    assert sorted(run.examples) == [0, 2, 4, 6]
    for examples in run.examples.values():
        assert examples.size == len(examples.positions) == 8
        assert set(examples.positions) == set(range(8))
        assert list(examples.norms) == sorted(examples.norms, reverse=True)
        assert examples.largest == examples.norms[0]
        assert examples.median == pytest.approx(np.median(examples.norms))


def test_the_exports_hold_what_they_can(path, tmp_path) -> None:
    run = store.read(path)
    with export.write(path, to="csv", out=tmp_path / "run.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = {
        (int(row["step"]), row["quantity"]): float(row["value"])
        for row in rows
        if row["role"] == "example"
    }
    for step, examples in run.examples.items():
        assert found[step, "median"] == examples.median
        assert found[step, "largest"] == examples.largest
        for position, norm in zip(examples.positions, examples.norms, strict=True):
            assert found[step, str(position)] == norm
    document = json.loads(export.write(path, to="json", out=tmp_path / "j").read_text())
    arrays = {tuple(place): elements for *place, elements in document["arrays"]}
    assert len(arrays) == len(run.vectors)
    for (role, quantity, site, step), array in run.vectors.items():
        np.testing.assert_array_equal(arrays[step, role, site, quantity], array.ravel())


def test_a_loop_of_ones_own_stores_the_same(tmp_path) -> None:
    target = healthy()
    state = target.init(jax.random.key(0))
    batch = jax.tree.map(lambda leaf: leaf[0], target.epoch(jax.random.key(1)))
    watched = jax.jit(nndiag.watch(target.train_step, level="full"))
    with nndiag.record(tmp_path / "run") as recording:
        for step in range(3):
            (state, metrics), readings = watched(state, batch)
            recording.log(step, readings, metrics)
            norms = np.asarray(readings.examples)
    stored = nndiag.load(tmp_path / "run")
    examples = stored.examples[2]
    assert examples.positions == tuple(np.argsort(-norms, kind="stable")[:8].tolist())
    np.testing.assert_array_equal(examples.norms, np.sort(norms)[::-1])
    assert {step for *_, step in stored.vectors} == {0, 1, 2}


@pytest.mark.parametrize("every", [1, 5])
def test_law_one_holds(every) -> None:
    """Bit for bit the parameters of the bare program."""
    target = healthy()
    start = target.init(jax.random.key(0))
    data = target.epoch(jax.random.key(1))
    steps = len(jax.tree.leaves(data)[0])
    bare, _ = jax.jit(lambda s, d: jax.lax.scan(target.train_step, s, d))(start, data)
    trainer = Trainer(
        Program(target.train_step, level_of("full"), every=every), show=lambda _: None
    )
    watched = trainer.run_stack(start, data, None)
    trainer.finish()
    assert steps >= 8
    for one, other in zip(jax.tree.leaves(watched), jax.tree.leaves(bare), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def test_a_wide_model_does_not_swell_the_database(tmp_path) -> None:
    """A million parameters: a histogram is 404 bytes, kept of steps 0, 1, 2, 4 …"""

    def step(w, x):
        loss, gradient = jax.value_and_grad(lambda w: jnp.square(x @ w).mean())(w)
        return w - 0.1 * gradient, {"loss": loss}

    watched = jax.jit(nndiag.watch(step, level="full"))
    w, x = jnp.ones((1000, 1000)), jnp.eye(1000)[:4]
    with nndiag.record(tmp_path / "run") as recording:
        for number in range(40):
            (w, metrics), readings = watched(w, x)
            recording.log(number, readings, metrics)
    kept = {step for *_, step in store.read(tmp_path / "run").vectors}
    assert kept == {0, 1, 2, 4, 8, 16, 32, 39}
    assert (tmp_path / "run" / DATABASE).stat().st_size < 200_000


def test_the_level_and_single_parts_exclude_each_other() -> None:
    with pytest.raises(SettingError, match="give one of them"):
        RunOptions(tier="full", parts=frozenset({"updates"}))
    with pytest.raises(SettingError, match="'fuller'; choose light, standard, full"):
        RunOptions(tier="fuller")
    assert RunOptions(tier="light").watched == ()
