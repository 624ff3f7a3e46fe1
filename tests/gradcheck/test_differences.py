"""The bound of a difference holds, and is not much too large."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nndiag.gradcheck.differences import function_noise, measure


def slope_of(function, x, scale=1.0):
    def along(direction, steps):
        with np.errstate(all="ignore"):
            return np.array([function(x + h * direction[0]) for h in steps])

    one, base = np.ones(1), function(x)
    noise = function_noise(along, base, one, scale * 2.0**-44)
    return measure(along, base, one, scale, noise)


FUNCTIONS = {
    "exp": (np.exp, np.exp),
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    "sin of 100 x": (lambda x: np.sin(100 * x), lambda x: 100 * np.cos(100 * x)),
    "logistic": (lambda x: 1 / (1 + np.exp(-x)), lambda x: 1 / (2 + 2 * np.cosh(x))),
    "cube and 1e6": (lambda x: x**3 + 1e6, lambda x: 3 * x**2),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=60, deadline=None)
@given(x=st.floats(-4, 4))
def test_the_bound_covers_the_error(name, x):
    function, derivative = FUNCTIONS[name]
    slope = slope_of(function, x)
    assert abs(slope.value - derivative(x)) <= slope.bound


def test_the_bound_is_small_for_a_smooth_function():
    for name in ("exp", "tanh", "sin of 100 x", "logistic"):
        assert slope_of(FUNCTIONS[name][0], 0.7).bound < 1e-7 * (
            1 + abs(FUNCTIONS[name][1](0.7))
        )


@pytest.mark.parametrize("distance", [1e-1, 1e-3, 1e-5, 1e-7])
def test_a_kink_beside_the_point_is_stepped_around(distance):
    slope = slope_of(lambda x: np.maximum(x, 0) + x**2, distance)
    assert slope.jump == 0
    assert abs(slope.value - 1 - 2 * distance) <= slope.bound < 1e-4


@pytest.mark.parametrize("distance", [1e-9, 1e-12, 1e-15])
def test_a_kink_nearer_than_any_step_is_within_the_bound(distance):
    slope = slope_of(lambda x: np.maximum(x, 0) + x**2, distance)
    assert abs(slope.value - 1 - 2 * distance) <= slope.bound


@pytest.mark.parametrize("right", [1.0, -0.3, 1e-3])
def test_a_kink_at_the_point_shows_as_a_jump(right):
    slope = slope_of(lambda x: right * np.maximum(x, 0) + np.sin(x), 0.0)
    assert slope.jump == pytest.approx(right, rel=1e-3)


def test_noise_is_measured_and_kept_within_the_bound():
    random = np.random.default_rng(0)

    def noisy(x):
        return math.sin(x) + 1e-6 * random.uniform(-1, 1)

    slope = slope_of(noisy, 0.5)
    assert abs(slope.value - math.cos(0.5)) <= slope.bound
    assert 3e-7 < slope.noise < 1e-5
    assert 1e-7 < slope.bound < 1e-2


def test_a_large_number_in_the_function_is_seen_as_noise():
    slope = slope_of(lambda x: (x + 1e4) ** 2 - 1e8, 0.3)
    assert abs(slope.value - 2e4 - 0.6) <= slope.bound < 100


@pytest.mark.parametrize(
    ("function", "derivative"),
    [
        (lambda x: 1 - np.exp(-x), np.exp(-1e-6)),
        (np.cosh, 1e-6),
        (lambda x: np.log(np.cosh(x)), 1e-6),
        (lambda x: np.exp(x) + np.exp(-x), 2e-6),
    ],
)
def test_rounding_beside_a_large_number_is_seen_at_a_small_point(function, derivative):
    slope = slope_of(function, 1e-6, scale=2.0**-20)
    assert abs(slope.value - derivative) <= slope.bound
