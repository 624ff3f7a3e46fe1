"""ND301, ND303, ND205 and ND206: what the loss and the updates say."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nndiag.rules import (
    diagnose,
    diverging_loss,
    update_too_large,
    update_too_small,
    wrong_initial_loss,
)
from nndiag.rules.measures import learned

STEPS = np.arange(300)


def one(rule, run):
    return next(rule.examine(run), None)


@given(ratio=st.floats(0.01, 100))
def test_the_first_loss_is_held_against_ln_c(build, ratio):
    finding = one(wrong_initial_loss, build(loss=ratio * math.log(10)))
    if 0.501 < ratio < 1.999:
        assert finding is None
    elif ratio < 0.499:
        assert finding.severity == "info"
    elif ratio > 2.001:
        assert finding.severity == "warning"
        assert finding.evidence[0].value == pytest.approx(ratio)


def test_a_summed_loss_is_recognised_by_the_batch_size(build):
    finding = one(wrong_initial_loss, build(loss=128 * 2.4))
    assert "128 rows" in finding.cause and "mean" in finding.remedies[0]


@given(scale=st.floats(1e-6, 1e6))
def test_divergence_does_not_depend_on_the_scale_of_the_loss(build, scale):
    rising = 1 + STEPS / 100
    before = one(diverging_loss, build(loss=rising))
    after = one(diverging_loss, build(loss=scale * rising))
    assert before.confidence == pytest.approx(after.confidence)


@pytest.mark.parametrize("seed", range(20))
def test_noise_around_any_falling_or_flat_loss_is_no_divergence(build, seed):
    random = np.random.default_rng(seed)
    for trend in (np.exp(-STEPS / 50), np.ones(300), 0.01 + np.exp(-STEPS / 10)):
        noisy = trend * random.lognormal(0, 0.4, 300)
        assert one(diverging_loss, build(loss=noisy)) is None


def test_a_converged_loss_that_wobbles_by_ten_times_is_no_divergence(build):
    wobbling = np.where(STEPS < 100, 2.3, 1e-4 * 10 ** (STEPS % 7 / 6))
    assert one(diverging_loss, build(loss=wobbling)) is None


def test_a_spike_that_is_recovered_from_is_no_divergence(build):
    spike = np.exp(-STEPS / 50) + np.where((STEPS > 150) & (STEPS < 170), 20, 0)
    assert one(diverging_loss, build(loss=spike)) is None


def test_losing_the_gain_again_is_dated_after_the_best_level(build):
    loss = np.interp(STEPS, [0, 100, 200, 299], [2.3, 0.3, 0.3, 1.9])
    finding = one(diverging_loss, build(loss=loss))
    assert finding.severity == "warning"
    assert 100 <= finding.first_step <= 250
    assert finding.evidence[0].value == pytest.approx(1.9 - 14.5 * 1.6 / 99 - 0.3)


def test_a_loss_below_zero_may_diverge_too(build):
    falling = -10 - STEPS / 10
    assert one(diverging_loss, build(loss=falling)) is None
    assert one(diverging_loss, build(loss=-40 + STEPS / 5)) is not None


@given(exponent=st.floats(-9, 1))
def test_the_band_of_updates_on_a_loss_that_does_not_fall(build, plateau, exponent):
    run = build(update=10**exponent, loss=plateau)
    small, large = one(update_too_small, run), one(update_too_large, run)
    assert (small is not None) == (10**exponent < 1e-4)
    assert (large is not None) == (10**exponent > 1e-1)


def test_tiny_updates_after_the_loss_fell_are_convergence(build):
    assert diagnose(build(update=3e-3 * np.exp(-np.arange(30.0)))) == ()


def test_one_overturning_first_step_is_enough_if_nothing_was_learned(build, plateau):
    run = build(update=np.r_[3.0, np.zeros(29)], loss=plateau)
    finding = one(update_too_large, run)
    assert (finding.first_step, finding.last_step, finding.severity) == (0, 0, "error")
    assert one(update_too_large, build(update=np.r_[3.0, np.full(29, 1e-3)])) is None


def test_biases_that_start_at_zero_do_not_count(build):
    assert diagnose(build(update=0.01)) == ()


def test_a_loss_that_jumped_up_and_came_back_has_not_learned(build):
    loss = np.where((STEPS > 0) & (STEPS < 40), 1e4, 2.3)
    finding = one(update_too_large, build(update=np.r_[0.9, np.zeros(29)], loss=loss))
    assert finding.severity == "error"


def test_a_run_that_ends_within_its_warm_up_is_not_too_slow(build, plateau):
    rising = 1e-6 * 1.1 ** np.arange(30)
    assert one(update_too_small, build(update=rising, loss=plateau)) is None
    assert one(update_too_small, build(update=rising[::-1], loss=plateau)) is not None


@pytest.mark.parametrize(("start", "end"), [(3.6, 2.31), (8.0, 2.303), (3.6, 2.45)])
def test_a_fall_down_to_a_guess_is_no_learning(build, start, end):
    falling = end + (start - end) * np.exp(-np.arange(40) / 4)
    assert not learned(build(steps=40, every=1, loss=falling))
    assert learned(build(steps=40, every=1, loss=falling - 0.6))


def test_without_known_classes_a_fall_counts_wherever_it_ends(build):
    run = build(loss=np.linspace(3.6, 2.31, 300))
    assert not learned(run)
    sites = tuple(site for site in run.sites if site.kind != "logits")
    assert learned(dataclasses.replace(run, sites=sites))
