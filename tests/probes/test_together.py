"""Several reductions in one pass give what each gives alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from nndiag.probes.together import HALVED, MOST, reduce_together


def wide_sums(values, axes=None):
    return np.sum(np.asarray(values, np.float64), axis=axes)


@settings(max_examples=30, deadline=None)  # each shape is compiled
@given(
    arrays(
        np.float32,
        array_shapes(min_dims=1, max_dims=3, max_side=6),
        elements=st.floats(-100, 100, width=32),
    )
)
def test_all_sums_and_the_largest_magnitude(values):
    total, squares, largest = reduce_together(
        [jnp.asarray(values), jnp.square(values)], [jnp.abs(values)]
    )
    np.testing.assert_allclose(total, wide_sums(values), atol=1e-3)
    wide = wide_sums(values.astype(float) ** 2)
    np.testing.assert_allclose(squares, wide, rtol=1e-5, atol=1e-6)
    assert abs(largest - np.abs(values).max()) < 1e-30  # subnormal numbers are 0


@pytest.mark.parametrize("jit", [jax.jit, lambda function: function])
@pytest.mark.parametrize("columns", [128, 127])
def test_halves_are_put_together(jit, columns):
    values = (
        np.random.default_rng(0).normal(size=(MOST // 2, columns)).astype(np.float32)
    )
    values[-1, -1] = 50  # in the second half

    def reduce(x):
        return reduce_together([x, jnp.square(x)], [jnp.abs(x)])

    total, squares, largest = jit(reduce)(jnp.asarray(values))
    np.testing.assert_allclose(total, wide_sums(values), atol=0.1)
    np.testing.assert_allclose(squares, wide_sums(values.astype(float) ** 2), rtol=1e-5)
    assert largest == 50


def test_each_layer_has_its_own():
    values = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    first, second = reduce_together([jnp.asarray(values), 2 * values], axes=(1, 2))
    np.testing.assert_allclose(first, wide_sums(values, (1, 2)), rtol=1e-5)
    np.testing.assert_allclose(second, 2 * wide_sums(values, (1, 2)), rtol=1e-5)


@pytest.mark.parametrize("where", [0, -1])
def test_a_nan_is_the_largest(where):
    values = jnp.ones((HALVED // 256, 256)).at[where, where].set(jnp.nan)
    total, largest = reduce_together([values], [values])
    assert jnp.isnan(total)
    assert jnp.isnan(largest)


def test_many_elements_do_not_stop_a_sum_from_growing():
    # One after another, float32 adds ones up to 2^24 and no further.
    ones = jnp.ones((1 << 13, 1 << 12))
    total, twice = jax.jit(lambda x: reduce_together([x, 2 * x]))(ones)
    assert total == 1 << 25
    assert twice == 1 << 26


@pytest.mark.parametrize(
    "shape", [(MOST,), (MOST + 1,), (MOST, 64), (2, MOST // 2, 64), (MOST, 4)]
)
def test_the_most_that_are_added_one_after_another_lose_few_digits(shape):
    values = np.random.default_rng(0).uniform(size=shape).astype(np.float32)
    (total,) = jax.jit(lambda x: reduce_together([x]))(values)
    np.testing.assert_allclose(total, wide_sums(values), rtol=1e-5)


def test_a_number_is_its_own_sum():
    assert [float(one) for one in reduce_together([jnp.asarray(2.0)])] == [2.0]
