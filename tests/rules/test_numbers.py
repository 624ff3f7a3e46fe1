"""ND401 and ND402: where the first bad value is, and how far it is from the limit."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nndiag.records import Site
from nndiag.rules import near_overflow, nonfinite_value

MAXIMA = {
    "float16": 65504.0,
    "bfloat16": 3.3895313892515355e38,
    "float32": 3.4028234663852886e38,
    "float64": 1.7976931348623157e308,
}
"""IEEE 754 table 3.5; bfloat16 from its 8 and 7 bits, 0x7F7F."""


def one(rule, run):
    return next(rule.examine(run), None)


@pytest.mark.parametrize(
    ("first", "place"),
    [
        ([("cotangent", "hidden_3/relu")], "cotangent of hidden_3"),
        (
            [("cotangent", "hidden_3/relu"), ("value", "hidden_5/relu")],
            "value of hidden_5",
        ),
        ([("value", "hidden_2/relu"), ("value", "hidden_5/relu")], "value of hidden_2"),
        (
            [("cotangent", "hidden_1/relu"), ("cotangent", "hidden_4/relu")],
            "cotangent of hidden_4",
        ),
        ([("value", "hidden_1/relu"), ("parameter", "output/w")], "parameter output/w"),
    ],
)
def test_the_place_is_the_first_in_the_order_of_computation(build, spoil, first, place):
    finding = one(nonfinite_value, spoil(build(), 100, *first))
    assert place in finding.title
    assert (finding.first_step, finding.last_step) == (100, 299)
    assert finding.severity == "error"


def test_the_loss_dates_it_between_recorded_steps(build, spoil):
    finding = one(nonfinite_value, spoil(build(), 93, ("parameter", "hidden_1/w")))
    assert finding.first_step == 93
    assert "at step 93" in finding.title and "at step 100" in finding.title


def test_a_skipped_step_of_dynamic_loss_scaling_is_information(build):
    run = build()
    finite = np.arange(30) != 7
    finding = one(nonfinite_value, dataclasses.replace(run, finite=finite))
    assert (finding.severity, finding.first_step, finding.last_step) == ("info", 70, 70)


def test_an_infinity_that_harms_nothing_is_not_reported(build):
    run = build()
    mask = Site("mask", kind="tap", order=99)
    readings = {**run.readings, ("value", "largest", mask): np.full(30, np.inf)}
    masked = dataclasses.replace(run, sites=(*run.sites, mask), readings=readings)
    assert one(nonfinite_value, masked) is None
    assert one(near_overflow, masked) is None


@given(dtype=st.sampled_from(sorted(MAXIMA)), bits=st.floats(0.01, 12))
def test_headroom_is_counted_from_the_largest_number_of_the_type(build, dtype, bits):
    peak = MAXIMA[dtype] / 2**bits
    largest = np.r_[np.full(29, 1.0), peak] * np.ones((6, 1))
    finding = one(near_overflow, build(largest=largest, dtype=dtype))
    assert (finding is not None) == (bits < 3)
    if finding is not None:
        assert finding.evidence[0].value == pytest.approx(bits, abs=1e-6)
        assert finding.last_step == 290


def test_a_steady_approach_is_seen_before_it_arrives(build):
    bits = 35 - 1.1 * np.arange(30)
    largest = MAXIMA["float32"] / np.exp2(bits) * np.ones((6, 1))
    finding = one(near_overflow, build(largest=largest))
    assert finding.evidence[0].value == pytest.approx(3.1)
    assert finding.evidence[1].value == pytest.approx(0.11)
    assert finding.title.endswith(
        "was 3.1 bits from overflow at step 290, closing 0.11 bits a step; at this "
        "pace it overflows at step 319."
    )


def with_operation(run, bits, role="value", function="exp", dtype="float32"):
    """The run with an operation of this headroom at its last recorded steps."""
    site = Site(
        f"output/{function}",
        kind="operation",
        scope="output",
        function=function,
        order=99,
        dtype=dtype,
        file="model.py",
        line=41,
    )
    largest = np.ones(len(run.recorded))
    largest[-len(bits) :] = np.exp2(np.log2(MAXIMA[dtype]) - np.array(bits))
    readings = {**run.readings, (role, "largest", site): largest}
    return dataclasses.replace(run, sites=(*run.sites, site), readings=readings)


def test_an_operation_is_named_by_its_line_and_dated_ahead(build):
    bits = 3.1 + 0.4 * np.arange(120)[::-1]
    run = with_operation(build(steps=121, every=1), bits)
    finding = one(near_overflow, run)
    assert finding.title == (
        "exp at model.py:41 was 3.1 bits from overflow at step 120, closing 0.4 bits a "
        "step; at this pace it overflows at step 128."
    )
    assert finding.sites == ("output/exp",)
    assert "log_softmax" in finding.remedies[0]
    # ln(2^128) - 3.1 ln 2
    assert "argument reached 86.6" in finding.cause


def test_the_derivative_of_an_operation_is_called_so(build):
    run = with_operation(build(), [20, 14, 8, 2], role="cotangent", function="log")
    title = one(near_overflow, run).title
    assert title.startswith("The derivative by what enters log at model.py:41 was 2 ")


def test_noise_about_a_level_is_no_approach(build):
    noise = 20 + 5 * np.sin(2.4 * np.arange(30))
    assert one(near_overflow, with_operation(build(), noise)) is None


def test_one_outlier_does_not_hide_an_approach(build):
    bits = np.arange(35.0, 5.0, -1.0)
    bits[-2] = 30
    finding = one(near_overflow, with_operation(build(), bits))
    assert finding.evidence[1].value == pytest.approx(0.1)


def test_operations_change_no_other_finding(build, spoil):
    run = spoil(build(), 100, ("value", "hidden_5/relu"))
    masked = np.full(30, np.inf)
    other = with_operation(run, np.full(30, 60.0), function="log")
    readings = {**other.readings, ("value", "largest", other.sites[-1]): masked}
    other = dataclasses.replace(other, readings=readings)
    assert list(nonfinite_value.examine(other)) == list(nonfinite_value.examine(run))
    assert other.layers() == run.layers()
    broken = broken_loss(with_operation(build(), np.full(30, 60.0)), 100, math.inf)
    assert "made between the logits and the loss" in one(nonfinite_value, broken).title


def test_the_constant_of_a_mask_is_no_approach(build):
    largest = np.full((6, 30), MAXIMA["float32"])
    assert one(near_overflow, build(largest=largest)) is None


def test_integers_have_no_headroom_here(build):
    assert one(near_overflow, build(largest=2.0e9, dtype="int32")) is None


def broken_loss(run, step, value):
    """The run whose loss alone is not finite from a recorded step on."""
    loss = np.where(run.steps >= step, value, run.loss)
    return dataclasses.replace(run, loss=loss, finite=run.recorded < step)


@pytest.mark.parametrize(("value", "kind"), [(math.inf, "infinite"), (math.nan, "NaN")])
@pytest.mark.parametrize("step", [0, 100])
def test_a_bad_loss_after_finite_values_was_made_behind_them(build, step, value, kind):
    finding = one(nonfinite_value, broken_loss(build(), step, value))
    assert f"The loss is {kind} at step {step}" in finding.title
    assert "made between the logits and the loss" in finding.title
    assert finding.sites == ("logits",)
    assert "backward" not in finding.cause and "log" in finding.cause
    assert "log_softmax" in finding.remedies[0]
    assert not any("Record every step" in remedy for remedy in finding.remedies)


def test_a_bad_loss_also_breaks_the_cotangents_without_being_theirs(build, spoil):
    run = spoil(build(), 100, ("cotangent", "hidden_3/relu"))
    assert "backward pass" in one(nonfinite_value, run).cause
    late = broken_loss(run, 100, math.inf)
    assert "made between the logits and the loss" in one(nonfinite_value, late).title


def test_steps_between_recorded_ones_are_asked_for_only_if_they_are_missing(
    build, spoil
):
    def asked(run):
        return [r for r in one(nonfinite_value, run).remedies if "Record every" in r]

    hidden = ("parameter", "hidden_1/w")
    (missing,) = asked(spoil(build(), 93, hidden))
    assert "step 93" in missing
    assert not asked(spoil(build(every=1), 93, hidden))
    assert not asked(spoil(build(), 100, ("value", "hidden_1/relu")))
