"""A finding in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nndiag.records import Evidence, Finding, Site
from nndiag.report.blocks import FindingCard, Proof
from nndiag.report.picture import Picture
from nndiag.report.units import number, percent, printable

_NAMED = 4
"""At most that many places are named one by one."""


def deal(
    findings: Sequence[Finding], pictures: dict[str, Picture]
) -> tuple[FindingCard, ...]:
    """One card per finding, symptoms nested, each picture with the first to need it.

    What hangs under a finding with remedies shows none of its own: they could fight
    those of the finding that leads it.

    Args:
        findings: ranked by cause.
        pictures: by name; those that found their card are taken out.
    """
    known = frozenset(pictures)

    def card(finding: Finding, led: bool = False) -> FindingCard:
        picture = pictures.pop(finding.picture, None)
        taken = picture is None and finding.picture in known
        return FindingCard(
            code=printable(finding.code),
            name=printable(finding.name).replace("_", " "),
            title=printable(finding.title),
            severity=finding.severity,
            confidence=_sure(finding.confidence),
            where=_where(finding.sites),
            lines=_unique(site.location for site in finding.sites),
            when=_when(finding),
            evidence=tuple(_proof(evidence) for evidence in finding.evidence),
            cause=printable(finding.cause),
            remedies=() if led else tuple(map(printable, finding.remedies)),
            picture=picture,
            see=finding.picture if taken else "",
            symptoms=tuple(
                card(symptom, led or bool(finding.remedies))
                for symptom in finding.symptoms
            ),
        )

    return tuple(card(finding) for finding in findings)


def _sure(confidence: float) -> str:
    # a rule never knows for certain, whatever the rounding
    text = "more than 99 %" if confidence > 0.99 else percent(confidence)
    return f"{text} sure"


def _where(sites: Sequence[Site]) -> str:
    names = _unique(sites)
    if not names:
        return "the whole run"
    if len(names) <= _NAMED:
        return ", ".join(names)
    return f"{names[0]} … {names[-1]} ({len(names)} places)"


def _when(finding: Finding) -> str:
    if finding.first_step == finding.last_step:
        return f"step {finding.first_step:,}"
    return f"steps {finding.first_step:,} to {finding.last_step:,}"


def _proof(evidence: Evidence) -> Proof:
    return Proof(
        quantity=printable(evidence.quantity),
        value=number(evidence.value),
        threshold="" if evidence.threshold is None else number(evidence.threshold),
        source=printable(evidence.source),
    )


def _unique(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(printable(text) for text in texts if text))
