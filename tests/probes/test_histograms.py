"""Histograms over the powers of two, against `numpy.frexp`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nndiag.probes import watch
from nndiag.probes.histograms import log2_histogram
from nndiag.records import HIGHEST_POWER, HISTOGRAM_BINS, LOWEST_POWER


def counted(values):
    """One element at a time."""
    counts = np.zeros(HISTOGRAM_BINS)
    for value in np.ravel(np.asarray(values, np.float64)):
        if not np.isfinite(value):
            place = HISTOGRAM_BINS - 1
        elif value == 0:
            place = 0
        else:
            power = int(np.frexp(value)[1]) - 1
            inside = np.clip(power, LOWEST_POWER - 1, HIGHEST_POWER + 1)
            place = inside - LOWEST_POWER + 2
        counts[place] += 1
    return counts


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_each_element_is_in_the_bin_of_its_power(dtype) -> None:
    random = np.random.default_rng(0)
    values = np.exp2(random.uniform(-80, 60, 500)) * random.choice([-1, 1], 500)
    odd = [0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, 2.0, -0.5, 1e-45, 3e38]
    array = jnp.asarray(np.concatenate([values, odd]), jnp.float32).astype(dtype)
    # A subnormal is smaller than all bins, and may be flushed to zero.
    exact = np.asarray(array.astype(jnp.float32))
    np.testing.assert_array_equal(
        np.asarray(jax.jit(log2_histogram)(array))[2:], counted(exact)[2:]
    )
    assert float(log2_histogram(array).sum()) == array.size


def test_in_double_precision() -> None:
    with jax.enable_x64():
        array = jnp.array([1.5, 2**-64, 2**-65, 2.0**33, np.nan, 0.0])
        assert array.dtype == jnp.float64
        np.testing.assert_array_equal(log2_histogram(array), counted(array))


def test_the_ends_are_where_they_are_said_to_be() -> None:
    counts = np.asarray(log2_histogram(jnp.array([2.0**-64, 2.0**32, 2.0**33])))
    assert np.flatnonzero(counts).tolist() == [
        2,
        HISTOGRAM_BINS - 3,
        HISTOGRAM_BINS - 2,
    ]


def loss(p, x):
    x, _ = jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, p["blocks"])
    return jnp.square(x @ p["out"]).mean()


def step(p, x):
    gradient = jax.grad(loss)(p, x)
    return jax.tree.map(lambda w, g: w - 0.1 * g, p, gradient)


def test_of_gradients_and_updates_for_each_layer() -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    p = {
        "blocks": jax.random.normal(keys[0], (3, 5, 5)) / 3,
        "out": jax.random.normal(keys[1], (5, 2)),
    }
    x = jax.random.normal(keys[2], (4, 5))
    after, readings = jax.jit(watch(step, level="full"))(p, x)
    gradient = jax.jit(jax.grad(loss))(p, x)
    for name, site in {"blocks": "blocks[*]", "out": "out"}.items():
        difference = np.asarray(after[name]) - np.asarray(p[name])
        for stats, array in (
            (readings.gradient[site], gradient[name]),
            (readings.update[site], difference),
        ):
            array = np.asarray(array)
            own = array.reshape(-1, *array.shape[-2:]) if name == "out" else array
            expected = np.array([counted(layer) for layer in own])
            found = np.reshape(stats.histogram, expected.shape)
            # The last bit of a gradient may fall on the other side of a power of two.
            assert np.abs(found - expected).sum() <= 2
            assert found.sum() == array.size


def test_other_levels_have_none() -> None:
    p = {"blocks": jnp.ones((3, 5, 5)), "out": jnp.ones((5, 2))}
    _, readings = watch(step, level="standard")(p, jnp.ones((4, 5)))
    assert readings.gradient["out"].histogram is None
    assert readings.update["out"].histogram is None
    assert all(stats.units is None for stats in readings.value.values())


def test_of_each_unit_the_mean_and_the_share_that_is_saturated() -> None:
    def relu_loss(w, x):
        with jax.named_scope("hidden"):
            h = jax.nn.relu(x @ w["a"])
        return jnp.square(h @ w["b"]).mean()

    w = {"a": jax.random.normal(jax.random.key(1), (5, 7)), "b": jnp.ones((7, 2))}
    w["a"] = w["a"].at[:, 3].set(-100.0)
    x = jnp.abs(jax.random.normal(jax.random.key(2), (6, 5)))
    _, readings = jax.jit(watch(jax.grad(relu_loss), level="full"))(w, x)
    mean, saturated = np.asarray(readings.value["hidden/relu"].units)
    h = np.maximum(np.asarray(x, np.float64) @ np.asarray(w["a"], np.float64), 0)
    np.testing.assert_allclose(mean, h.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(saturated, (h == 0).mean(0), atol=1e-6)
    assert saturated[3] == 1.0
