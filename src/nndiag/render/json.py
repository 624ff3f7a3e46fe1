"""Findings for machines.

The structure, version 1::

    {
      "schema": 1,
      "verdict": {"level": "error", "sentence": "…"},
      "run": {"path", "target", "command", "seed", "every", "watched", "started",
              "git", "status", "seconds", "steps", "recorded",
              "first_loss", "last_loss", "settings", "versions", "device"},
      "findings": [
        {"code", "name", "title", "severity", "confidence",
         "sites": [{"name", "kind", "function", "dtype", "location"}],
         "first_step", "last_step",
         "evidence": [{"quantity", "value", "threshold", "source"}],
         "cause", "remedies": ["…"], "picture", "symptoms": [findings],
         "autopsy": see `autopsy_json`}
      ],
      "notes": ["…"]
    }

and of gradient checks (`gradcheck_json`)::

    {
      "schema": 1,
      "verdict": {"level": "error", "sentence": "…"},
      "ok": false,
      "checks": [
        {"function", "ok",
         "leaves": [{"path", "shape", "dtype", "verdict", "norm", "largest_error",
                     "error_bound", "worst_index", "explanation",
                     "wrong": [{"index", "given", "expected", "bound"}], "kinks",
                     "method"}],
         "forward_reverse": {"forward", "reverse", "bound", "agree", "note"},
         "taylor": {"steps", "remainders", "order"},
         "hessian",
         "rule": {"name", "file", "line", "kind", "explanation"},
         "cause": {"text", "file", "line"},
         "findings": as above, "evaluations", "notes"}
      ]
    }

New keys may be added under the same version. JSON has no NaN and no Inf: such numbers
are the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``. What is absent is null.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

from nndiag.records import Autopsy, Finding, Run
from nndiag.records.gradcheck import GradCheck, LeafCheck
from nndiag.report.gradcheck import judge as judge_checks
from nndiag.report.verdict import judge
from nndiag.store import autopsy_document

SCHEMA = 1


def findings_json(run: Run, findings: Sequence[Finding]) -> str:
    """The findings of a run as JSON text; see the module for its structure.

    Args:
        run: as read back from its directory.
        findings: from `nndiag.rules`, ranked by cause.
    """
    verdict = judge(run, findings)
    document = {
        "schema": SCHEMA,
        "verdict": {"level": verdict.level, "sentence": verdict.sentence},
        "run": {
            "path": str(run.path),
            "target": run.header.target,
            "command": run.header.command,
            "seed": run.header.seed,
            "every": run.header.every,
            "watched": run.header.watched,
            "started": run.header.started,
            "git": run.header.git,
            "status": run.status,
            "seconds": run.seconds,
            "steps": len(run.steps),
            "recorded": len(run.recorded),
            "first_loss": float(run.loss[0]) if len(run.loss) else None,
            "last_loss": float(run.loss[-1]) if len(run.loss) else None,
            "settings": run.header.settings,
            "versions": run.header.versions,
            "device": run.header.device,
        },
        "findings": [_finding(finding) for finding in findings],
        "notes": run.notes,
    }
    return json.dumps(_valid(document), indent=2, allow_nan=False)


def autopsy_json(autopsy: Autopsy) -> dict[str, object]:
    """An autopsy in terms of JSON.

    Args:
        autopsy: from a replay, or read back from a run.

    Returns:
        The fields of `nndiag.records.Autopsy` by name, origin, operands and chain as
        objects of their own; without the replayed arrays.
    """
    return autopsy_document(autopsy)


def gradcheck_json(checks: Sequence[GradCheck]) -> str:
    """Gradient checks as JSON text; see the module for its structure.

    Args:
        checks: one for each function, at least one. The relative errors of all
            elements, of which there can be millions, are left out.
    """
    verdict = judge_checks(checks)
    oks = [check.ok for check in checks]
    document = {
        "schema": SCHEMA,
        "verdict": {"level": verdict.level, "sentence": verdict.sentence},
        "ok": False if False in oks else None if None in oks else True,
        "checks": [_check(check) for check in checks],
    }
    return json.dumps(_valid(document), indent=2, allow_nan=False)


def _check(check: GradCheck) -> dict[str, object]:
    def plain(part: Any) -> dict[str, object] | None:
        return None if part is None else dataclasses.asdict(part)

    return {
        "function": check.function,
        "ok": check.ok,
        "leaves": [_leaf(leaf) for leaf in check.leaves],
        "forward_reverse": plain(check.forward_reverse),
        "taylor": plain(check.taylor),
        "hessian": check.hessian,
        "rule": plain(check.rule),
        "cause": plain(check.cause),
        "findings": [_finding(finding) for finding in check.findings],
        "evaluations": check.evaluations,
        "notes": check.notes,
    }


def _leaf(leaf: LeafCheck) -> dict[str, object]:
    fields = dataclasses.asdict(dataclasses.replace(leaf, errors=None))
    del fields["errors"]
    return fields


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "code": finding.code,
        "name": finding.name,
        "title": finding.title,
        "severity": finding.severity,
        "confidence": finding.confidence,
        "sites": [
            {
                "name": str(site),
                "kind": site.kind,
                "function": site.function or None,
                "dtype": site.dtype,
                "location": site.location or None,
            }
            for site in finding.sites
        ],
        "first_step": finding.first_step,
        "last_step": finding.last_step,
        "evidence": [
            {
                "quantity": evidence.quantity,
                "value": evidence.value,
                "threshold": evidence.threshold,
                "source": evidence.source or None,
            }
            for evidence in finding.evidence
        ],
        "cause": finding.cause,
        "remedies": finding.remedies,
        "picture": finding.picture,
        "symptoms": [_finding(symptom) for symptom in finding.symptoms],
        "autopsy": finding.autopsy and autopsy_json(finding.autopsy),
    }


def _valid(value: object) -> object:
    """The value in what JSON knows; anything foreign as its text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        if math.isnan(value):
            return "NaN"
        return "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return {str(key): _valid(item) for key, item in items}
    if isinstance(value, list | tuple):
        return [_valid(item) for item in cast("Sequence[object]", value)]
    return str(value)
