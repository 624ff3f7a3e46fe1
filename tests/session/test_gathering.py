"""Readings held as one array are the same as readings in a tree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nndiag import store
from nndiag.probes import watch
from nndiag.probes.packing import PackedReadings, pack
from nndiag.records import (
    ROLES,
    Axis,
    Gathered,
    Header,
    Readings,
    Site,
    StepRecord,
    TensorStats,
)
from nndiag.session.gathering import plain
from nndiag.session.reduction import reduce_readings


def tree(*leading: int) -> Readings:
    """Readings of odd shapes: in scans over layers, over time, over both, over none."""
    random = np.random.default_rng(0)

    def numbers(*shape: int):
        return np.abs(random.normal(size=(*leading, *shape)).astype(np.float32))

    here = Site("here", kind="activation")
    layers = Site("b[*]/a", axes=(Axis(3, 2),))
    time = Site("t", axes=(Axis(0),))
    both = Site("c[*]/a", axes=(Axis(2, 5), Axis(0)))
    hoisted = Site("d[*]/a", axes=(Axis(4, 1),))
    value = {
        here: TensorStats(mean=numbers(), largest=numbers(), sample=numbers(5)),
        layers: TensorStats(mean=numbers(3), norm=numbers(3), sample=numbers(3, 5)),
        time: TensorStats(mean=numbers(7), norm=numbers(7), largest=numbers(7)),
        both: TensorStats(norm=numbers(2, 7), sample=numbers(2, 7, 5)),
        hoisted: TensorStats(norm=numbers()),
    }
    if leading:  # what was computed outside of the scan could not be told from it
        del value[hoisted]
    gradient = {Site("w"): TensorStats(norm=numbers())}
    finite = np.ones(leading, np.float32)
    return Readings(numbers(), finite, value, {}, {}, gradient, {})


def assert_equal(ours: Readings, theirs: Readings) -> None:
    assert ours.loss == pytest.approx(theirs.loss)
    assert ours.finite == theirs.finite
    for role in ROLES:
        mine, other = getattr(ours, role), getattr(theirs, role)
        assert mine.keys() == other.keys()
        for site, stats in other.items():
            assert vars(next(s for s in mine if s == site)) == vars(site)
            for name, one, two in zip(stats._fields, mine[site], stats, strict=True):
                assert (one is None) == (two is None), (site, name)
                if one is not None:
                    assert np.allclose(one, two), (site, name)


@pytest.mark.parametrize("leading", [(), (4,), (2, 3)])
def test_packed_readings_reduce_as_the_tree_does(leading) -> None:
    unpacked = tree(*leading)
    expected = reduce_readings(unpacked)
    packed = jax.jit(pack)(tree())
    if leading:
        many = jax.tree.map(lambda x: x.reshape(-1, *x.shape[len(leading) :]), unpacked)
        one = jax.jit(pack)
        rows = [
            one(jax.tree.map(lambda x, i=i: x[i], many)) for i in range(len(many.loss))
        ]
        numbers = jnp.stack([row.numbers for row in rows]).reshape(*leading, -1)
        packed = PackedReadings(numbers, rows[0].layout)
    assert expected is not None
    assert_equal(plain(packed), expected)


def test_packed_readings_look_like_readings() -> None:
    packed, unpacked = jax.jit(pack)(tree()), tree()
    assert packed.loss == unpacked.loss
    assert (packed.value["b[*]/a"].norm == unpacked.value["b[*]/a"].norm).all()
    assert packed.gradient["w"].norm == unpacked.gradient["w"].norm
    assert packed.gradient["w"].mean is None
    assert packed.examples is None
    assert len(jax.tree.leaves(packed)) == 1
    assert "6 places" in repr(packed)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        packed.nothing  # noqa: B018


def test_what_is_not_finite_stays_so() -> None:
    bad = tree()._replace(finite=jnp.zeros(()))
    bad.gradient[Site("w")] = TensorStats(norm=jnp.nan * jnp.ones(()))
    assert np.isnan(plain(pack(bad)).gradient["w"].norm)


def test_float64_is_kept() -> None:
    with jax.enable_x64(True):
        step = watch(jax.grad(lambda w: jnp.square(w - 1 / 3).sum()))
        _, readings = jax.jit(step)(jnp.ones(1, jnp.float64))
        assert float(readings.gradient["parameter"].norm) == 2 * (1 - 1 / 3)


def test_programs_of_equal_names_keep_what_their_places_are() -> None:
    def step(w, x):
        return jax.grad(lambda w: jnp.tanh(x @ w).sum())(w)

    for dtype in (jnp.float32, jnp.bfloat16, jnp.float32):
        _, readings = jax.jit(watch(step))(jnp.ones(2, dtype), jnp.ones((3, 2), dtype))
        found = plain(readings)
        assert found is not None
        assert {site.dtype for site in found.gradient} == {jnp.dtype(dtype).name}


def test_many_steps_stored_at_once_are_as_those_stored_one_by_one(tmp_path) -> None:
    def readings(step: int) -> Readings:
        """Of two kinds, one with a place and a detail more; with a NaN and an Inf."""
        w, b = Site("w", kind="parameter", order=1), Site("b", kind="parameter")
        size = jnp.float32(jnp.nan if step == 5 else step)
        gradient = {w: TensorStats(norm=size, largest=jnp.inf * jnp.ones(()))}
        value = {}
        if step % 4 == 3:
            gradient[b] = TensorStats(norm=size * 2, spread=size / 2)
        a = Site("a", kind="activation", order=2)
        value[a] = TensorStats(mean=size + 1, sample=jnp.arange(4.0) + step)
        finite = jnp.float32(step != 5)
        return Readings(size, finite, value, {}, {}, gradient, {})

    together = store.create(tmp_path / "together", Header())
    single = store.create(tmp_path / "single", Header())
    for step in range(12):
        gathered, reduced = plain(pack(readings(step))), reduce_readings(readings(step))
        assert isinstance(gathered, Gathered)
        assert isinstance(reduced, Readings)
        together.add(StepRecord(step, 0.0, None, {}, gathered))
        single.add(StepRecord(step, 0.0, None, {}, reduced))
    together.close("finished")
    single.close("finished")
    assert together.lost is single.lost is None
    one, other = store.read(tmp_path / "together"), store.read(tmp_path / "single")
    assert one.recorded.tolist() == other.recorded.tolist() == [*range(12)]
    assert one.finite.tolist() == other.finite.tolist()
    assert {*one.readings} == {*other.readings}
    assert len(one.readings) == 5
    for key, series in other.readings.items():
        np.testing.assert_array_equal(one.readings[key], series)
    assert one.samples.keys() == other.samples.keys()
    for key, sample in other.samples.items():
        np.testing.assert_array_equal(one.samples[key], sample)
    assert {step for _, step in one.samples} == {0, 1, 2, 4, 8, 11}
