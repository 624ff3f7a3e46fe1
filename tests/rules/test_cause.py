"""How findings are nested and ranked."""

import random

import pytest

from nndiag.records import Evidence, Finding, Site
from nndiag.rules import CATALOGUE, diagnose, diagnosis
from nndiag.rules.catalogue import Rule
from nndiag.rules.cause import EXPLAINS, arrange

HIDDEN = Site("hidden_1/sigmoid", kind="activation")


def finding(code, *, severity="warning", confidence=0.5, first=0, sites=(), value=5.0):
    return Finding(
        code=code,
        name=code.lower(),
        title=f"{code} at {first}.",
        severity=severity,
        confidence=confidence,
        sites=sites,
        first_step=first,
        last_step=first,
        evidence=(Evidence(quantity="x", value=value),),
        cause="",
        remedies=(),
        picture="loss",
    )


def outline(findings):
    return [(f.code, outline(f.symptoms)) for f in findings]


def test_the_table_names_rules_that_exist():
    known = {rule.code for rule in CATALOGUE}
    named = {code for cause, symptom, _ in EXPLAINS for code in (cause, symptom)}
    assert named <= known


def test_severity_goes_before_confidence_goes_before_code():
    ranked = arrange(
        [
            finding("ND102", severity="info", confidence=1.0),
            finding("ND402", confidence=0.4),
            finding("ND205", confidence=0.9),
            finding("ND303", confidence=0.4),
            finding("ND301", severity="error", confidence=0.1),
        ]
    )
    codes = [f.code for f in ranked]
    assert codes == ["ND301", "ND205", "ND303", "ND402", "ND102"]


def test_chains_nest():
    chain = [finding("ND303"), finding("ND401"), finding("ND206"), finding("ND202")]
    assert outline(arrange(chain)) == [
        ("ND206", [("ND202", [("ND303", [("ND401", [])])])])
    ]


def test_saturation_hangs_under_vanishing_only_in_the_same_layers():
    vanishing = finding("ND201", severity="error", sites=(HIDDEN,))
    same = finding("ND101", sites=(HIDDEN,))
    other = finding("ND101", sites=(Site("elsewhere/sigmoid"),))
    assert outline(arrange([same, vanishing])) == [("ND201", [("ND101", [])])]
    assert outline(arrange([other, vanishing])) == [("ND201", []), ("ND101", [])]


def test_what_came_first_is_not_explained_by_what_came_later():
    late, early = finding("ND206", first=200), finding("ND102", first=0)
    assert {f.code for f in arrange([late, early])} == {"ND206", "ND102"}


def test_a_cause_is_as_severe_as_its_worst_symptom():
    (root,) = arrange(
        [finding("ND206", severity="info"), finding("ND303", severity="error")]
    )
    assert (root.code, root.severity) == ("ND206", "error")


def test_no_finding_is_lost_where_causes_run_in_a_circle():
    sites = (HIDDEN,)
    circle = [
        finding(code, sites=sites) for code in ("ND103", "ND206", "ND102", "ND201")
    ]

    def count(findings):
        return sum(1 + count(f.symptoms) for f in findings)

    assert count(arrange(circle)) == 4


def test_the_order_in_which_rules_ran_does_not_matter():
    findings = [
        finding(rule.code, confidence=0.1 * (i % 4), first=i, sites=(HIDDEN,))
        for i, rule in enumerate(CATALOGUE)
    ]
    expected = arrange(findings)
    shuffled = findings.copy()
    for seed in range(20):
        random.Random(seed).shuffle(shuffled)
        assert arrange(shuffled) == expected


def test_raw_pixels_lead_what_they_cause(build, plateau):
    run = build(
        function="sigmoid", inputs=(33.0, 78.0, 255.0), saturated=0.8, loss=plateau
    )
    (first, *_) = diagnose(run)
    assert first.code == "ND701"
    assert [s.code for s in first.symptoms] == ["ND101"]
    assert first.symptoms[0].sites[:2] == ("input", "hidden_1/sigmoid")


@pytest.mark.parametrize("code", [rule.code for rule in CATALOGUE])
def test_a_rule_that_raises_does_not_end_the_diagnosis(code, patients, monkeypatch):
    def broken(run):
        raise ZeroDivisionError("a fault in the rule")
        yield

    rules = tuple(
        Rule(r.code, r.name, r.page, broken) if r.code == code else r for r in CATALOGUE
    )
    monkeypatch.setattr(diagnosis, "CATALOGUE", rules)
    (failure,) = diagnose(patients[code][1])
    assert (failure.code, failure.severity) == ("ND000", "info")
    assert code in failure.title
    assert failure.cause == "ZeroDivisionError: a fault in the rule"
