"""A run that breaks ends where it broke, with the equation that did it."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nndiag.session import RunOptions, failing, run

sys.path.insert(0, str(Path(__file__).parent))
import toy


def options(tmp_path, name, **changes):
    changes = {"every": 3, "dpi": 40, **changes}
    return RunOptions(target=f"toy:{name}", out=tmp_path / "run", **changes)


def first_bad_step(target, limit=40):
    """By a plain loop, on the host."""
    _, data_key = jax.random.split(jax.random.key(0))
    state = target.init(jax.random.split(jax.random.key(0))[0])
    step = jax.jit(target.train_step)
    number = 0
    for epoch in range(limit):
        data = target.epoch(jax.random.fold_in(data_key, epoch))
        for i in range(len(jax.tree.leaves(data)[0])):
            state, metrics = step(state, jax.tree.map(lambda x, i=i: x[i], data))
            if not np.isfinite(metrics["loss"]):
                return number
            number += 1
    raise AssertionError("no step was bad")


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    return run(options(tmp_path_factory.mktemp("broken"), "breaking_target", epochs=9))


def test_the_run_stops_where_the_state_broke_and_holds_the_autopsy(broken):
    step = first_bad_step(toy.breaking())
    assert broken.run.status == "stopped"
    assert list(broken.run.autopsies) == [step]
    assert np.isfinite(broken.run.loss[:step]).all()
    assert not np.isfinite(broken.run.loss[step])
    found = broken.run.autopsies[step]
    assert found.primitive == "sqrt"
    assert Path(found.file).name == "toy.py"
    lines = Path(toy.__file__).read_text().splitlines()
    assert lines[found.line - 1].strip() == found.source
    assert found.source == 'root = jnp.sqrt(params["slide"])'
    assert found.reaches_output


def test_the_first_finding_names_line_and_cause(broken):
    finding = broken.findings[0]
    assert finding.code == "ND401"
    assert "toy.py" in finding.title
    assert "not real" in finding.cause
    assert "jnp.sqrt" in broken.page.read_text()


def test_the_failing_step_can_be_repeated_without_the_target(broken):
    script = broken.path / "failure" / "reproduce.py"
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, cwd="/", timeout=120
    )
    assert done.returncode == 1, done.stderr
    assert "['loss']: 1 NaN" in done.stdout


def test_a_loss_that_is_bad_once_ends_nothing(tmp_path):
    outcome = run(options(tmp_path, "patient_target", epochs=2))
    assert outcome.run.status == "finished"
    assert len(outcome.run.loss) == 16
    bad = np.flatnonzero(~np.isfinite(outcome.run.loss))
    assert len(bad) == 2
    assert list(outcome.run.autopsies) == [bad[0]]
    assert outcome.run.autopsies[bad[0]].primitive == "log"


def test_a_healthy_run_has_no_autopsy(tmp_path):
    outcome = run(options(tmp_path, "healthy_target", epochs=1))
    assert not outcome.run.autopsies
    assert not (outcome.path / "failure").exists()


def test_a_fault_of_the_autopsy_leaves_run_and_report(tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("a broken replay")

    monkeypatch.setattr(failing.replay, "autopsy", broken)
    outcome = run(options(tmp_path, "breaking_target", epochs=9))
    assert outcome.findings[0].code == "ND401"
    assert any("a broken replay" in note for note in outcome.run.notes)


@pytest.mark.parametrize("bad", [0, 3, 7])
def test_the_failing_step_of_a_stretch_is_found_with_what_it_was_given(bad):
    def step(state, batch):
        loss, gradient = jax.value_and_grad(lambda w: jnp.square(w @ batch).sum())(
            state
        )
        return state - 0.01 * gradient, {"loss": loss}

    data = jax.random.normal(jax.random.key(0), (10, 4)).at[bad + 2, 1].set(jnp.nan)
    start = jnp.ones(4)
    failure = failing.find_failure(step, start, data, 2, 8, 50)
    assert failure is not None
    assert failure.step == 50 + bad
    np.testing.assert_array_equal(failure.batch, data[bad + 2])
    state = start
    for batch in data[2 : bad + 2]:
        state = step(state, batch)[0]
    np.testing.assert_allclose(failure.state, state, rtol=1e-6)
    assert failing.find_failure(step, start, data, 0, 2, 0) is None


def test_a_nan_in_the_state_alone_is_seen(tmp_path):
    outcome = run(options(tmp_path, "quiet_target", epochs=2))
    assert outcome.run.status == "stopped"
    (step,) = outcome.run.autopsies
    assert outcome.run.autopsies[step].primitive == "sqrt"
    assert np.isfinite(outcome.run.loss).all()
