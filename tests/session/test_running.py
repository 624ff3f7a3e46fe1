"""`nndiag run`: what is trained, stored, and left untouched."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nndiag import store
from nndiag.errors import ProgramError, RunError, SettingError, TargetError
from nndiag.session import RunOptions, run
from nndiag.session.loading import configure, load_target
from nndiag.session.program import Program
from nndiag.session.training import Trainer, epochs

sys.path.insert(0, str(Path(__file__).parent))
import toy


def options(tmp_path, name, **changes):
    changes = {"every": 3, "dpi": 40, **changes}
    return RunOptions(target=f"toy:{name}", out=tmp_path / "run", **changes)


def trained(target, *, every, count=3, limit=None):
    from nndiag.probes import level_of

    records = []
    program = Program(target.train_step, level_of("standard"), every=every)
    key = jax.random.key(1)
    state = target.init(key)
    trainer = Trainer(program, show=records.append)
    for stacks in epochs(target, key, count):
        for stack in stacks:
            program.check(state, stack)
            state = trainer.run_stack(state, stack, limit)
    trainer.finish()
    return state, records


def bare(target, count=3):
    """The same course, by plain JAX."""
    key = jax.random.key(1)
    state = target.init(key)
    losses = []
    for epoch_key in jax.random.split(key, count):
        state, metrics = jax.jit(lambda s, d: jax.lax.scan(target.train_step, s, d))(
            state, target.epoch(epoch_key)
        )
        losses.append(np.asarray(metrics["loss"]))
    return state, np.concatenate(losses)


@pytest.mark.parametrize("every", [1, 3, 100])
def test_a_watched_run_is_the_bare_run_bit_for_bit(every):
    watched, records = trained(toy.healthy(), every=every)
    expected, losses = bare(toy.healthy())
    for a, b in zip(jax.tree.leaves(watched), jax.tree.leaves(expected), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    assert [r.step for r in records] == list(range(len(losses)))
    np.testing.assert_array_equal(np.float32([r.loss for r in records]), losses)
    recorded = [r.step for r in records if r.readings is not None]
    assert recorded == list(range(0, len(losses), every))


def test_batches_fed_from_the_host_train_the_same():
    fed, _ = trained(toy.Fed(), every=3)
    stacked, _ = trained(toy.healthy(), every=3)
    for a, b in zip(jax.tree.leaves(fed), jax.tree.leaves(stacked), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_a_limit_ends_the_run_at_that_step():
    _, records = trained(toy.healthy(), every=3, limit=10)
    assert [r.step for r in records] == list(range(10))


def test_a_run_is_stored_diagnosed_and_published(tmp_path):
    outcome = run(options(tmp_path, "healthy_target", epochs=2, seed=4))
    stored = store.read(tmp_path / "run")
    assert stored.status == "finished"
    assert stored.header.seed == 4
    assert stored.header.steps_planned == 16
    np.testing.assert_array_equal(stored.steps, np.arange(16))
    np.testing.assert_array_equal(stored.recorded, np.arange(0, 16, 3))
    assert outcome.findings == ()
    assert "<html" in outcome.page.read_text(encoding="utf-8")
    assert outcome.pictures
    assert all(p.read_bytes()[:4] == b"\x89PNG" for p in outcome.pictures)
    gradient = stored.series("gradient", "norm", stored.of_kind("parameter")[0])
    assert np.isfinite(gradient).all()


def test_only_the_parts_asked_for_are_stored(tmp_path):
    chosen = frozenset({"saturation"})
    run(options(tmp_path, "healthy_target", epochs=1, parts=chosen))
    stored = store.read(tmp_path / "run")
    (site,) = stored.of_kind("activation")
    assert np.isfinite(stored.series("value", "saturated", site)).all()
    assert np.isfinite(stored.series("cotangent", "norm", site)).all()
    parameter = stored.of_kind("parameter")[0]
    assert np.isfinite(stored.series("gradient", "norm", parameter)).all()
    assert np.isnan(stored.series("update", "norm", parameter)).all()


def test_a_nan_is_found_at_its_step(tmp_path):
    outcome = run(options(tmp_path, "breaking_target", epochs=2))
    losses = store.read(tmp_path / "run").loss
    first = int(np.flatnonzero(~np.isfinite(losses))[0])
    assert 0 < first < 16
    finding = outcome.findings[0]
    assert finding.code == "ND401"
    assert finding.first_step <= first


def test_debug_nans_stops_at_the_failing_step_though_jax_forgot_to(tmp_path):
    before = jax.config.jax_debug_nans
    try:
        # What any trace of jnp.var does to JAX's check since 0.8.
        jax.config.update("jax_debug_nans", True)
        with jax.debug_nans(True):
            pass
        outcome = run(options(tmp_path, "breaking_target", epochs=2, debug_nans=True))
    finally:
        jax.config.update("jax_debug_nans", before)
    assert outcome.run.status == "stopped"
    assert len(outcome.run.steps) < 16
    assert not np.isfinite(outcome.run.loss[-1])
    assert np.isfinite(outcome.run.loss[:-1]).all()
    assert any("switched it on again" in note for note in outcome.run.notes)
    assert "ND602" in [finding.code for finding in outcome.findings]
    (found,) = outcome.run.autopsies.values()
    assert found.primitive == "sqrt"


@pytest.mark.parametrize(
    ("name", "status"),
    [("interrupted_target", "interrupted"), ("failing_target", "failed")],
)
def test_what_ends_the_training_does_not_end_the_run(tmp_path, name, status):
    getattr(toy, name).epochs_begun = 0
    outcome = run(options(tmp_path, name, epochs=3))
    assert outcome.run.status == status
    assert list(outcome.run.steps) == list(range(11))
    assert outcome.page.exists()
    assert outcome.run.notes


def test_a_fault_of_nndiag_leaves_the_training_alone(tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("a broken probe")

    monkeypatch.setattr("nndiag.probes.statistics.describe_value", broken)
    outcome = run(options(tmp_path, "healthy_target", epochs=1))
    assert outcome.run.status == "finished"
    assert len(outcome.run.steps) == 8
    assert any("a broken probe" in note for note in outcome.run.notes)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("toy:healty_target", TargetError, "did you mean 'healthy_target'"),
        ("toy:no_target", TargetError, "has no init, no train_step, no epoch"),
        ("toy:number", TargetError, "is no target"),
        ("no_such_module:target", TargetError, "no module 'no_such_module'"),
        ("no_such_file.py:target", TargetError, "no file no_such_file.py"),
        (":target", TargetError, "names no module"),
    ],
)
def test_names_that_are_no_target(name, error, message):
    with pytest.raises(error, match=message):
        load_target(name)


def test_a_module_that_fails_to_import_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "broken_model.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TargetError, match="importing broken_model failed: No module"):
        load_target("broken_model:target")


def test_a_target_in_a_file(tmp_path):
    file = tmp_path / "my_model.py"
    file.write_text("from toy import healthy_target as target\n")
    assert load_target(str(file)) is toy.healthy_target


def test_settings_that_a_target_does_not_have():
    with pytest.raises(SettingError, match="no settings to change, so no depth"):
        configure(toy.healthy_target, changes={"depth": "3"})
    with pytest.raises(SettingError, match="no presets, so no 'relu'"):
        configure(toy.healthy_target, preset="relu", changes={})


def test_a_loss_that_is_no_scalar_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ProgramError, match=r"is float32\[3\]; it must be"):
        run(options(tmp_path, "vector_target"))
    assert not (tmp_path / "run").exists()


def test_a_generator_called_epoch_is_told_its_name(tmp_path):
    with pytest.raises(TargetError, match=r"epoch returned a generator.*batches"):
        run(options(tmp_path, "misnamed_target"))


def test_an_existing_directory_is_refused_before_anything_is_set_up(
    tmp_path, monkeypatch
):
    (tmp_path / "run").write_text("mine")
    monkeypatch.setattr("nndiag.session.running.settle", lambda state: 1 / 0)
    with pytest.raises(RunError, match="never overwritten"):
        run(options(tmp_path, "healthy_target"))


def test_an_existing_directory_is_never_overwritten(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("mine")
    with pytest.raises(RunError, match="run"):
        run(options(tmp_path, "healthy_target"))
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["precious.txt"]


@pytest.mark.parametrize("name", ["every", "epochs", "steps"])
def test_numbers_below_one(name):
    with pytest.raises(SettingError, match=f"--{name} is 0; it must be at least 1"):
        RunOptions(**{name: 0})


def test_a_recorded_loop_gives_the_findings_of_its_reloaded_run(tmp_path):
    import nndiag

    target = toy.healthy()
    watched = jax.jit(nndiag.watch(target.train_step))
    state = target.init(jax.random.key(0))
    stack = target.epoch(jax.random.key(1))
    with nndiag.record(tmp_path / "run", every=2) as recording:
        for step in range(8):
            batch = jax.tree.map(lambda leaf, i=step: leaf[i], stack)
            (state, metrics), readings = watched(state, batch)
            recording.log(step, readings, metrics | {"scale": jnp.float32(step)})
        recording.evaluate(8, {"accuracy": 0.5})
    stored = nndiag.load(tmp_path / "run")
    assert list(stored.steps) == list(range(8))
    assert list(stored.recorded) == [0, 2, 4, 6]
    np.testing.assert_array_equal(stored.metrics["scale"], np.arange(8))
    assert stored.evaluations["accuracy"][1][0] == 0.5
    assert recording.diagnose() == nndiag.rules.diagnose(stored)


def test_a_recorded_loop_that_raises_is_closed_as_failed(tmp_path):
    import nndiag

    with (
        pytest.raises(ZeroDivisionError),
        nndiag.record(tmp_path / "run") as recording,
    ):
        recording.log(0, metrics={"loss": 1.0})
        raise ZeroDivisionError
    assert nndiag.load(tmp_path / "run").status == "failed"
