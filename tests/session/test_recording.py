"""`record`: whatever a loop hands in, the loop goes on."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nndiag
from nndiag.records import Header, Readings, Site, TensorStats
from nndiag.session.course import Course

SITE = Site("w", kind="parameter", scope="", order=0)


def readings(**changes):
    gradient = {SITE: TensorStats(norm=jnp.float32(2))}
    parts = {"loss": jnp.float32(1), "finite": jnp.float32(1), "gradient": gradient}
    empty = {"value": {}, "cotangent": {}, "parameter": {}, "update": {}}
    return Readings(**(empty | parts | changes))


def deleted():
    array = jnp.arange(3.0).sum()
    array.delete()
    return array


def stored_soon(path, steps):
    """Whether so many steps are in the run within seconds, and nobody does anything."""
    for _ in range(100):
        if len(nndiag.load(path).steps) == steps:
            return True
        time.sleep(0.1)
    return False


def test_the_last_steps_are_stored_though_no_further_step_comes(tmp_path):
    with nndiag.record(tmp_path / "run") as run:
        for step in range(5):
            run.log(step, readings())
        assert stored_soon(tmp_path / "run", 5)


def test_so_are_those_of_a_script(tmp_path):
    watched = jax.jit(nndiag.watch(lambda w: jax.value_and_grad(jnp.sum)(w)))
    (loss, _), packed = watched(jnp.ones(2))
    course = Course(tmp_path / "run", Header)
    for step in range(5):
        course.log(step, loss, packed)
    assert stored_soon(tmp_path / "run", 5)
    assert course.close("finished")


def test_steps_of_other_integer_types(tmp_path):
    with nndiag.record(tmp_path / "run") as run:
        run.log(np.int64(0), readings())
        run.log(jnp.asarray(1), readings())
        run.evaluate(np.int32(1), {"accuracy": jnp.float32(0.5)})
    stored = nndiag.load(tmp_path / "run")
    assert stored.recorded.tolist() == stored.steps.tolist() == [0, 1]
    assert stored.evaluations["accuracy"][1].tolist() == [0.5]


def test_a_metric_that_is_no_number_is_left_out_alone(tmp_path):
    odd = {"none": None, "name": "3", "vector": np.ones(2), "nested": {}, "rate": 0.5}
    with nndiag.record(tmp_path / "run") as run:
        run.log(0, readings(), odd)
        run.evaluate(0, odd)
    stored = nndiag.load(tmp_path / "run")
    assert stored.loss.tolist() == [1.0]
    assert set(stored.metrics) == set(stored.evaluations) == {"rate"}
    assert stored.notes == ()


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (lambda run: run.log(1, readings(), {"gone": deleted()}), "deleted"),
        (lambda run: run.log(1, readings(), [1, 2]), "they are no dict"),
        (lambda run: run.log(1, readings(), jnp.ones(2)), "they are no dict"),
        (lambda run: run.log(1, readings(value=3)), "readings of step 1"),
        (lambda run: run.log(1.5, readings()), "step 1.5"),
        (lambda run: run.evaluate(1, jnp.ones(2)), "evaluation after step 1"),
        (lambda run: run.evaluate(1, {"a": deleted()}), "deleted"),
    ],
)
def test_what_cannot_be_stored_is_one_note_and_one_warning(tmp_path, bad, why):
    run = nndiag.record(tmp_path / "run")
    run.log(0, readings())
    bad(run)
    bad(run)
    run.log(2, readings())
    with pytest.warns(UserWarning, match=why) as caught:
        run.close()
    assert len(caught) == 1
    stored = nndiag.load(tmp_path / "run")
    assert {0, 2} <= set(stored.recorded.tolist())
    (note,) = stored.notes
    assert why in note


def test_deleted_readings_lose_themselves_but_not_the_loss(tmp_path):
    run = nndiag.record(tmp_path / "run")
    lost = {SITE: TensorStats(norm=deleted())}
    run.log(0, readings(gradient=lost), {"loss": 3.0})
    with pytest.warns(UserWarning, match="readings of step 0"):
        run.close()
    stored = nndiag.load(tmp_path / "run")
    assert (stored.loss.tolist(), stored.recorded.tolist()) == ([3.0], [])


@pytest.mark.parametrize(
    ("stats", "finite", "expected"),
    [
        ({"norm": [3.0, 4.0]}, 1.0, {"norm": 12.5**0.5}),
        ({"mean": [1.0, np.nan, 2.0]}, 1.0, {"mean": 1.5}),
        ({"mean": [np.inf, -np.inf]}, 1.0, {"mean": np.nan}),
        ({"largest": [1.0, 9.0, np.nan]}, 1.0, {"largest": 9.0}),
        ({"largest": [1.0, np.nan]}, 0.0, {"largest": np.nan}),
        ({"zero": [np.nan, np.nan]}, 1.0, {"zero": np.nan}),
    ],
)
def test_leading_axes_become_one_number(tmp_path, stats, finite, expected):
    given = {SITE: TensorStats(**{k: jnp.asarray(v) for k, v in stats.items()})}
    flags = jnp.asarray([1.0, finite])
    with nndiag.record(tmp_path / "run", every=2) as run:
        for step in range(2):
            run.log(
                step,
                readings(gradient=given, finite=flags, loss=jnp.asarray([1.0, 2.0])),
            )
    stored = nndiag.load(tmp_path / "run")
    assert stored.loss.tolist() == [1.5, 1.5]
    assert stored.finite.tolist() == [finite == 1.0]
    site = stored.of_kind("parameter")[0]
    for quantity, number in expected.items():
        found = stored.series("gradient", quantity, site)
        np.testing.assert_allclose(found, [number])


def test_a_sample_of_many_members_keeps_its_first_elements(tmp_path):
    unit = Site("h", kind="activation", scope="", order=1)
    sample = jnp.arange(600.0).reshape(3, 200)
    value = {unit: TensorStats(mean=jnp.ones(3), sample=sample)}
    with nndiag.record(tmp_path / "run") as run:
        run.log(0, readings(value=value))
    (kept,) = nndiag.load(tmp_path / "run").samples.values()
    assert kept.tolist() == list(range(256))


def test_vmapped_members_are_recorded(tmp_path):
    def step(w, x):
        loss, g = jax.value_and_grad(lambda w: jnp.square(x @ w).mean())(w)
        return w - 0.1 * g, {"loss": loss}

    members = jnp.asarray([[1.0, 0.0], [2.0, 0.0]])
    watched = jax.jit(jax.vmap(nndiag.watch(step), in_axes=(0, None)))
    with nndiag.record(tmp_path / "run") as run:
        (_, metrics), read = watched(members, jnp.eye(2))
        run.log(0, read, metrics)
    stored = nndiag.load(tmp_path / "run")
    assert stored.loss.tolist() == [(0.5 + 2.0) / 2]
    norm = stored.series("gradient", "norm", stored.of_kind("parameter")[0])
    np.testing.assert_allclose(norm, [((1 + 4) / 2) ** 0.5], rtol=1e-6)
