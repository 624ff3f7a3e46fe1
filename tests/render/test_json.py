import json

import numpy as np

from nndiag.render import findings_json


def strict(text):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_findings_and_their_symptoms_come_out_whole(example):
    run = example.sick_run(steps=100)
    document = strict(findings_json(run, example.findings(run)))
    assert document["schema"] == 1
    assert document["verdict"]["level"] == "error"
    assert document["run"]["steps"] == 100 and document["run"]["recorded"] == 10
    assert document["run"]["settings"]["depth"] == 7
    first, second = document["findings"]
    assert (first["code"], second["code"]) == ("ND201", "ND301")
    assert [symptom["code"] for symptom in first["symptoms"]] == ["ND101", "ND205"]
    assert first["sites"][0] == {
        "name": "hidden_1/sigmoid",
        "kind": "activation",
        "function": "sigmoid",
        "dtype": "float32",
        "location": "mnist_model/model.py:44",
    }
    assert first["evidence"][0]["value"] == 1.0e-6


def test_numbers_that_json_lacks_are_strings(example):
    run = example.replace(
        example.sick_run(steps=20),
        loss=np.array([np.nan, *[1.0] * 18, -np.inf]),
    )
    (finding, *_) = example.findings(run)
    evidence = example.Evidence(quantity="q", value=float("inf"))
    odd = example.replace(finding, evidence=(evidence,), symptoms=())
    document = strict(findings_json(run, (odd,)))
    assert document["run"]["first_loss"] == "NaN"
    assert document["run"]["last_loss"] == "-Infinity"
    assert document["findings"][0]["evidence"] == [
        {"quantity": "q", "value": "Infinity", "threshold": None, "source": None}
    ]


def test_settings_that_json_lacks_are_their_text(example):
    header = example.Header(
        settings={"rate": np.float32(0.5), "shape": (1, 2), "f": max}
    )
    run = example.replace(example.empty_run(), header=header)
    settings = strict(findings_json(run, ()))["run"]["settings"]
    assert settings["shape"] == [1, 2]
    assert settings["f"] == str(max)
    assert settings["rate"] == "0.5"


def test_empty_run(example):
    document = strict(findings_json(example.empty_run(), ()))
    assert document["findings"] == [] and document["run"]["first_loss"] is None


def test_a_finding_carries_its_autopsy(example, autopsies):
    run = example.sick_run(steps=20)
    (finding, *_) = example.findings(run)
    located = example.replace(finding, autopsy=autopsies["softmax"])
    first = strict(findings_json(run, (located,)))["findings"][0]
    assert first["autopsy"]["origin"]["line"] == 38
    assert first["autopsy"]["result"]["values"] == ["NaN", "NaN"]
    assert first["autopsy"]["operands"][0]["values"][0] == "Infinity"
    assert first["symptoms"][0]["autopsy"] is None
