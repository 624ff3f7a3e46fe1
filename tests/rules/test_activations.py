"""ND101, ND102, ND103 and ND701: since when, and from what."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nndiag.rules import (
    dead_units,
    diagnose,
    input_scale,
    saturated_activation,
    signal_collapse,
)


def one(rule, run):
    return next(rule.examine(run), None)


def test_saturation_from_the_start_on_sound_inputs_is_of_the_weights(build, plateau):
    run = build(function="sigmoid", saturated=0.7, slope=0.03, loss=plateau)
    finding = one(saturated_activation, run)
    assert "already at step 0, by the initial weights" in finding.title
    assert "0.03 against at most 0.25" in finding.cause
    assert len(finding.sites) == 6 and finding.severity == "warning"


def test_saturation_that_grew_is_dated_and_blamed_on_training(build, plateau):
    grown = np.where(np.arange(30) < 12, 0.1, 0.8) * np.ones((6, 1))
    run = build(function="tanh", saturated=grown, slope=0.1, loss=plateau)
    finding = one(saturated_activation, run)
    assert finding.first_step == 120
    assert "grew in training" in finding.cause
    assert one(
        saturated_activation, build(function="tanh", saturated=grown)
    ).severity == ("info")


def test_onsets_are_told_apart_by_layer(build, plateau):
    layers = np.zeros((6, 30))
    layers[0] = 0.9
    layers[3, 20:] = 0.9
    run = build(
        function="tanh", saturated=layers, inputs=(0.0, 50.0, 200.0), loss=plateau
    )
    findings = list(saturated_activation.examine(run))
    assert [f.sites[-1] for f in findings] == ["hidden_1/tanh", "hidden_4/tanh"]
    assert "inputs" in findings[0].title and findings[0].sites[0] == "input"


@given(st.floats(0, 1))
def test_half_of_a_relu_is_flat_and_that_is_its_nature(build, saturated):
    run = build(function="relu", saturated=saturated)
    assert one(saturated_activation, run) is None


def test_dying_is_dated(build, plateau):
    share = np.where(np.arange(30) < 9, 0.05, 0.97)
    finding = one(dead_units, build(dead=share, loss=plateau))
    assert finding.first_step == 90 and "since step 90" in finding.title
    assert finding.severity == "error"


def test_dead_from_the_start_blames_the_start(build, plateau):
    finding = one(dead_units, build(dead=0.7, loss=plateau))
    assert "from the first step on" in finding.title and "start below" in finding.cause


def test_units_that_come_back_are_not_dead(build, plateau):
    share = np.where(np.arange(30) < 25, 0.9, 0.1)
    assert one(dead_units, build(dead=share, loss=plateau)) is None


def test_a_small_batch_cannot_tell_dead_from_silent(build, plateau):
    assert one(dead_units, build(dead=0.9, rows=16, loss=plateau)) is None


@given(depth=st.integers(3, 10), factor=st.floats(0.05, 20))
def test_collapse_is_the_ratio_of_the_ends(build, depth, factor):
    ratio = factor ** (depth - 1)
    if min(abs(ratio / 1e-2 - 1), abs(ratio / 1e2 - 1)) < 1e-6:
        return
    finding = one(signal_collapse, build(depth=depth, std_per_layer=factor))
    assert (finding is not None) == (ratio < 1e-2 or ratio > 1e2)
    if finding is not None:
        assert finding.evidence[0].value == pytest.approx(ratio)
        assert ("shrinks" in finding.title) == (ratio < 1)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ((33.0, 78.0, 255.0), "raw pixels"),
        ((0.0, 50.0, 210.0), "raw pixels"),
        ((0.0, 50.0, 400.0), "not scaled to the unit variance"),
        ((300.0, 10.0, 330.0), "not scaled to the unit variance"),
        ((5e-4, 1.2e-3, 1 / 255), "divided by 255 twice"),
        ((0.0, 0.01, 0.04), "far below the unit variance"),
    ],
)
def test_far_inputs_are_told_by_kind(build, inputs, words):
    assert words in one(input_scale, build(inputs=inputs)).cause


@pytest.mark.parametrize(
    "inputs",
    [
        (0.13, 0.31, 1.0),  # pixels in 0..1
        (0.0, 1.0, 2.8),  # standardised
        (-0.7, 0.6, 1.0),  # pixels in -1..1
        (1e-4, 0.01, 1.0),  # one word in ten thousand
        (0.0, 0.02, 0.09),  # a fresh embedding
    ],
)
def test_usual_inputs_are_sound(build, inputs):
    assert diagnose(build(inputs=inputs)) == ()


def test_a_resumed_run_says_nothing_of_initial_weights(build):
    run = build(std_per_layer=0.1)
    later = dataclasses.replace(
        run, steps=run.steps + 1000, recorded=run.recorded + 1000
    )
    assert one(signal_collapse, run) is not None
    assert one(signal_collapse, later) is None


@pytest.mark.parametrize("rows", [8, 32])
def test_a_wholly_dead_layer_is_found_in_small_batches(build, plateau, rows):
    needed = 192 // rows

    def examined(batches, share):
        steps = 10 * batches
        loss = plateau[:steps]
        return one(dead_units, build(dead=share, rows=rows, steps=steps, loss=loss))

    assert examined(needed - 1, 1.0) is None
    assert examined(needed, 1.0).severity == "error"
    # nine tenths may be silent by chance
    assert examined(needed, 0.95) is None


def test_nine_tenths_dead_need_512_rows(build):
    def examined(batches, share):
        loss = np.full(10 * batches, 2.3)
        return one(dead_units, build(dead=share, rows=8, steps=10 * batches, loss=loss))

    assert examined(63, 0.95) is None
    assert examined(64, 0.95).evidence[0].threshold == 0.9
    assert examined(64, 0.85) is None


@pytest.mark.parametrize("seed", range(5))
def test_silence_that_fluctuates_in_batches_of_eight_is_healthy(build, seed):
    share = np.random.default_rng(seed).uniform(0.05, 0.2, 100)
    run = build(dead=share, rows=8, steps=1000)
    assert diagnose(run) == ()
