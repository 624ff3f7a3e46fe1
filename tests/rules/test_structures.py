"""ND109, ND110 and ND210: attention, residual branches, embedding tables."""

import numpy as np
import pytest

from nndiag.rules import (
    attention_collapse,
    diagnose,
    residual_imbalance,
    untrained_rows,
)


def one(rule, run):
    return next(rule.examine(run), None)


def test_heads_that_fall_onto_one_key_are_told_with_step_and_growth(
    build, plateau, heads
):
    finding = one(attention_collapse, heads(build(loss=plateau), collapsed=6))
    assert finding.severity == "warning"
    assert "75 % of the attention heads" in finding.title
    assert finding.first_step == 150
    assert len(finding.sites) == 6
    assert "grew 12-fold to 36" in finding.cause


def test_heads_that_are_sharp_from_the_start_are_blamed_on_the_weights(
    build, plateau, heads
):
    run = heads(build(loss=plateau), collapsed=8, logits=400.0)
    assert "from the start" in one(attention_collapse, run).cause


def test_a_run_that_learns_well_has_sharp_heads_as_information(build, heads):
    finding = one(attention_collapse, heads(build(), collapsed=8))
    assert finding.severity == "info"


@pytest.mark.parametrize(
    "healthy",
    [
        {"collapsed": 0},
        {"collapsed": 3},  # sharp heads, but fewer than half
        {"collapsed": 8, "entropy": 0.2},
        {"collapsed": 8, "logits": 6.0},  # sharp, and the logits stay
        {"collapsed": 8, "keys": 4},
    ],
)
def test_other_heads_are_healthy(build, plateau, healthy, heads):
    assert one(attention_collapse, heads(build(loss=plateau), **healthy)) is None


def test_a_branch_that_adds_nothing_at_all_is_a_warning(build, plateau, branch):
    dead = np.where(np.arange(30) < 10, 0.2, 0.0)
    finding = one(residual_imbalance, branch(build(loss=plateau), dead))
    assert (finding.severity, finding.sites) == ("warning", ("second",))
    assert "adds nothing" in finding.title
    assert one(residual_imbalance, branch(build(), dead)).severity == "info"


@pytest.mark.parametrize("ratio", [1e-5, 1e4])
def test_a_branch_out_of_proportion_is_information(build, plateau, ratio, branch):
    finding = one(residual_imbalance, branch(build(loss=plateau), ratio))
    assert (finding.severity, finding.sites) == ("info", ("second",))
    assert finding.evidence[0].value == pytest.approx(ratio)


@pytest.mark.parametrize(
    "ratio",
    [0.01, 30.0, np.inf, np.nan, np.where(np.arange(30) < 20, 0.0, 0.1)],
)
def test_other_branches_are_healthy(build, plateau, ratio, branch):
    assert one(residual_imbalance, branch(build(loss=plateau), ratio)) is None


def test_rows_that_the_data_never_names_are_information(build, table):
    finding = one(untrained_rows, table(build(), trained=100))
    assert (finding.severity, finding.sites) == ("info", ("embedding",))
    assert "90 % of the 1,000 rows of embedding" in finding.title
    assert "recorded" in finding.title
    large = one(untrained_rows, table(build(), trained=100, stride=4))
    assert "every 4th watched" in large.title


@pytest.mark.parametrize(
    "healthy",
    [
        {"trained": 600},
        {"trained": 100, "latest": 280},  # new ones still come
        {"trained": 100, "steps": 10},
    ],
)
def test_other_tables_are_healthy(build, healthy, table):
    assert one(untrained_rows, table(build(), **healthy)) is None


def test_a_run_without_such_places_says_nothing_of_them(build):
    codes = {finding.code for finding in diagnose(build())}
    assert codes.isdisjoint({"ND000", "ND109", "ND110", "ND210"})
