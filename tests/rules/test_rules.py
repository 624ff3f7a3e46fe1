"""What holds for every rule of the catalogue."""

import dataclasses
import inspect
import itertools

import numpy as np
import pytest

from nndiag.records import Header, Run
from nndiag.rules import CATALOGUE, diagnose

CODES = [rule.code for rule in CATALOGUE]
RULES = {rule.code: rule for rule in CATALOGUE}
PARTS = ["value", "cotangent", "parameter", "update"]
PICTURES = [
    "saturation",
    "gradient",
    "profile",
    "update",
    "headroom",
    "distribution",
    "loss",
]


def found(code, run):
    return list(RULES[code].examine(run))


def every(findings):
    for finding in findings:
        yield finding
        yield from every(finding.symptoms)


def truncated(run, steps):
    """The first steps of a run."""
    count = int((run.recorded < steps).sum())
    return dataclasses.replace(
        run,
        steps=run.steps[:steps],
        loss=run.loss[:steps],
        recorded=run.recorded[:count],
        finite=run.finite[:count],
        readings={key: series[:count] for key, series in run.readings.items()},
        autopsies={step: a for step, a in run.autopsies.items() if step < steps},
    )


def test_every_rule_has_a_patient_and_a_healthy_control(patients):
    assert set(patients) == set(CODES)


def test_codes_and_names_are_unique_and_in_order():
    assert len(set(CODES)) == len({rule.name for rule in CATALOGUE}) == len(CODES)
    assert sorted(CODES) == CODES


@pytest.mark.parametrize("code", CODES)
def test_the_patient_has_the_disease(code, patients):
    sick, _ = patients[code]
    findings = found(code, sick)
    assert [(f.code, f.name) for f in findings] == [(code, RULES[code].name)]
    assert findings[0].severity in ("warning", "error", "info")


@pytest.mark.parametrize("code", CODES)
def test_the_healthy_control_has_no_finding_at_all(code, patients):
    _, healthy = patients[code]
    assert diagnose(healthy) == ()


@pytest.mark.parametrize("code", CODES)
def test_a_finding_is_complete(code, patients):
    sick, _ = patients[code]
    (finding,) = found(code, sick)
    assert finding.title.endswith(".") and any(c.isdigit() for c in finding.title)
    assert finding.cause.endswith(".")
    assert 1 <= len(finding.remedies) <= 4
    assert all(remedy.endswith(".") for remedy in finding.remedies)
    assert 0 < finding.confidence <= 1
    assert finding.first_step <= finding.last_step
    assert finding.first_step in sick.steps
    assert set(finding.sites) <= set(sick.sites)
    assert [s.order for s in finding.sites] == sorted(s.order for s in finding.sites)
    assert any(evidence.threshold is not None for evidence in finding.evidence)
    assert finding.picture in PICTURES


@pytest.mark.parametrize("code", CODES)
def test_evidence_lies_beyond_its_threshold(code, patients):
    (finding,) = found(code, patients[code][0])
    decisive = next(e for e in finding.evidence if e.threshold is not None)
    assert decisive.value != decisive.threshold
    assert np.isfinite(decisive.value)


@pytest.mark.parametrize("code", CODES)
def test_silent_on_a_run_without_a_step(code, patients):
    assert found(code, truncated(patients[code][0], 0)) == []


@pytest.mark.parametrize("code", CODES)
def test_silent_on_an_empty_directory(code, tmp_path):
    nothing = np.array([], np.int64)
    run = Run(
        path=tmp_path,
        header=Header(),
        status="running",
        seconds=0.0,
        sites=(),
        steps=nothing,
        loss=nothing.astype(float),
        metrics={},
        evaluations={},
        recorded=nothing,
        finite=nothing.astype(bool),
        readings={},
        samples={},
        notes=(),
    )
    assert found(code, run) == []


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("steps", [1, 2, 5, 11, 35])
def test_short_runs_do_not_break_a_rule(code, which, steps, patients):
    found(code, truncated(patients[code][which], steps))


@pytest.mark.parametrize("steps", [1, 2, 5, 11, 35])
def test_short_healthy_runs_are_healthy(steps, build):
    assert diagnose(truncated(build(), steps)) == ()


@pytest.mark.parametrize("code", [c for c in CODES if c not in ("ND301", "ND303")])
def test_silent_where_nothing_was_measured(code, patients):
    sick = patients[code][0]
    blind = dataclasses.replace(
        sick,
        readings={},
        loss=np.where(np.isfinite(sick.loss), sick.loss, 1.0),
        finite=np.ones_like(sick.finite),
        autopsies={},
        notes=(),
    )
    assert found(code, blind) == []


@pytest.mark.parametrize("code", CODES)
def test_series_of_nan_are_not_measurements(code, patients):
    sick, healthy = patients[code]
    for run in (sick, healthy):
        unmeasured = dataclasses.replace(
            run,
            readings={k: np.full_like(v, np.nan) for k, v in run.readings.items()},
            finite=np.ones_like(run.finite),
            loss=np.full_like(run.loss, 2.0),
            autopsies={},
            notes=(),
        )
        assert found(code, unmeasured) == []


@pytest.mark.parametrize(
    "roles",
    [roles for count in (1, 2, 3, 4) for roles in itertools.combinations(PARTS, count)],
)
def test_healthy_runs_stay_healthy_with_parts_of_the_watch_off(roles, patients):
    for _, healthy in patients.values():
        part = {k: v for k, v in healthy.readings.items() if k[0] not in roles}
        assert diagnose(dataclasses.replace(healthy, readings=part)) == ()


@pytest.mark.parametrize("code", CODES)
def test_no_rule_breaks_on_any_patient_with_gaps(code, patients):
    for sick, _ in patients.values():
        for gap in range(2):
            holes = {
                key: np.where(np.arange(series.size) % 2 == gap, np.nan, series)
                for key, series in sick.readings.items()
            }
            found(code, dataclasses.replace(sick, readings=holes))


def test_the_same_run_gives_the_same_findings(patients):
    for sick, _ in patients.values():
        assert diagnose(sick) == diagnose(sick) != ()


def test_every_patient_is_diagnosed_with_its_disease(patients):
    for code, (sick, _) in patients.items():
        assert code in {finding.code for finding in every(diagnose(sick))}


def test_a_rule_examines_lazily_and_alone():
    assert all(inspect.isgeneratorfunction(rule.examine) for rule in CATALOGUE)
