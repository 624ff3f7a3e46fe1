"""Moments of the initial weights against their closed forms."""

import jax
import numpy as np
import pytest

from mnist_model import Settings
from mnist_model.initialisation import INITIALISERS
from mnist_model.network import initialise

DENSE, KERNEL = (400, 300), (3, 3, 40, 60)


def noise(shape):
    return jax.random.normal(jax.random.key(0), shape)


VARIANCE = {
    "normal": lambda fan_in, fan_out: 1.0,
    "uniform": lambda fan_in, fan_out: 1 / 3,
    "lecun": lambda fan_in, fan_out: 1 / fan_in,
    "glorot": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "he": lambda fan_in, fan_out: 2 / fan_in,
}


@pytest.mark.parametrize(
    ("shape", "fan_in", "fan_out"), [(DENSE, 400, 300), (KERNEL, 360, 540)]
)
@pytest.mark.parametrize("name", VARIANCE)
@pytest.mark.parametrize("scale", [0.8, 3.0])
def test_variance_is_the_closed_form(name, shape, fan_in, fan_out, scale):
    weight = np.asarray(INITIALISERS[name](noise(shape), scale))
    variance = scale**2 * VARIANCE[name](fan_in, fan_out)
    # The sample variance of n normal draws scatters by √(2/n), here under 1 %.
    assert weight.var() == pytest.approx(variance, rel=0.04)
    assert abs(weight.mean()) < 5 * np.sqrt(variance / weight.size)
    assert weight.shape == shape


def test_uniform_stays_within_its_limit_and_reaches_it():
    weight = INITIALISERS["uniform"](noise(DENSE), 0.05)
    assert 0.0499 < abs(weight).max() <= 0.05


@pytest.mark.parametrize("shape", [(400, 300), (300, 400)])
def test_orthogonal_has_orthonormal_columns_or_rows(shape):
    weight = np.asarray(INITIALISERS["orthogonal"](noise(shape), 2.0))
    weight = weight if shape[0] > shape[1] else weight.T
    np.testing.assert_allclose(weight.T @ weight, 4 * np.eye(300), atol=1e-4)


def test_constant_is_constant():
    weight = INITIALISERS["constant"](noise(DENSE), 0.01)
    assert set(np.unique(weight)) == {np.float32(0.01)}


def test_output_scale_and_bias_scale_reach_their_parameters():
    key = jax.random.key(4)
    plain = initialise(key, Settings(width=300))
    scaled = initialise(key, Settings(width=300, output_scale=0.25, bias_scale=0.5))
    np.testing.assert_allclose(
        scaled["output"]["weight"], 0.25 * plain["output"]["weight"], rtol=1e-6
    )
    np.testing.assert_array_equal(
        scaled["hidden_1"]["weight"], plain["hidden_1"]["weight"]
    )
    assert not plain["hidden_1"]["bias"].any()
    assert np.std(scaled["hidden_1"]["bias"]) == pytest.approx(0.5, rel=0.2)


def test_layers_are_drawn_independently():
    params = initialise(jax.random.key(5), Settings(depth=3, width=50))
    second, third = params["hidden_2"]["weight"], params["hidden_3"]["weight"]
    assert abs(np.corrcoef(second.ravel(), third.ravel())[0, 1]) < 0.1
