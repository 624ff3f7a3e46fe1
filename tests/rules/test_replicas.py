"""ND211 on spreads that are known."""

import dataclasses

import numpy as np
import pytest

from nndiag.rules import diagnose


def spread(run, *, update, copies=None):
    """The run with a spread of the updates of its first weights."""
    site = run.of_kind("parameter")[0]
    readings = dict(run.readings)
    shape = run.recorded.shape
    readings["update", "spread", site] = np.broadcast_to(update, shape).astype(float)
    if copies is not None:
        series = np.broadcast_to(copies, shape).astype(float)
        readings["parameter", "spread", site] = series
    return dataclasses.replace(run, readings=readings)


def found(run):
    return next((f for f in diagnose(run) if f.code == "ND211"), None)


@pytest.mark.parametrize("update", [2e-3, 0.3, 1.0])
def test_updates_that_differ_are_copies_that_diverge(build, update):
    finding = found(spread(build(), update=update))
    assert finding.severity == "error"
    assert finding.evidence[0].value == pytest.approx(update)
    assert [str(site) for site in finding.sites] == ["hidden_1/w"]


@pytest.mark.parametrize("update", [0.0, 1e-5, 9e-4])
def test_rounding_is_no_divergence(build, update):
    assert found(spread(build(), update=update)) is None


def test_a_run_on_one_device_has_no_copies(build):
    assert found(build()) is None


def test_copies_that_differ_from_the_start_are_an_ensemble(build):
    assert found(spread(build(), update=0.3, copies=0.2)) is None
    late = np.r_[0.0, np.full(29, 0.2)]
    assert found(spread(build(), update=0.3, copies=late)) is not None


def test_one_odd_step_is_not_enough(build):
    update = np.where(np.arange(30) == 7, 0.5, 0.0)
    assert found(spread(build(), update=update)) is None
