"""A finding in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from nndiag.records import Evidence, Finding
from nndiag.report.autopsy import place
from nndiag.report.blocks import FindingCard, Proof
from nndiag.report.code import location, same_line, summary
from nndiag.report.picture import Picture
from nndiag.report.units import number, percent, printable

_NAMED = 4
"""At most that many places are named one by one."""

_LINES = 12
"""At most that many lines of source are."""


def deal(
    findings: Sequence[Finding], pictures: dict[str, Picture]
) -> tuple[FindingCard, ...]:
    """One card per finding, symptoms nested, each picture with the first to need it.

    What hangs under a finding with remedies shows none of its own: they could fight
    those of the finding that leads it. A rewrite of a line fights nothing.

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
            where=_where(finding),
            lines=_few(_unique(_lines(finding))),
            when=_when(finding),
            evidence=tuple(_proof(evidence) for evidence in finding.evidence),
            cause=printable(finding.cause),
            remedies=()
            if led and finding.autopsy is None
            else tuple(map(printable, finding.remedies)),
            picture=picture,
            see=finding.picture if taken else "",
            symptoms=tuple(
                card(symptom, led or bool(finding.remedies))
                for symptom in finding.symptoms
            ),
            frame=finding.autopsy and summary(finding.autopsy),
            autopsied=finding.autopsy is not None,
        )

    return tuple(card(finding) for finding in findings)


def _sure(confidence: float) -> str:
    # a rule never knows for certain, whatever the rounding
    text = "more than 99 %" if confidence > 0.99 else percent(confidence)
    return f"{text} sure"


def _where(finding: Finding) -> str:
    names = _unique(finding.sites)
    if not names and finding.autopsy is not None:
        return place(finding.autopsy.origin or finding.autopsy)
    if not names:
        return "the whole run"
    if len(names) <= _NAMED:
        return ", ".join(names)
    return f"{names[0]} … {names[-1]} ({len(names):,} places)"


def _lines(finding: Finding) -> Iterator[str]:
    """The lines of source: where it began, where it became what it is."""
    if finding.autopsy is None:
        yield from (site.location for site in finding.sites)
        return
    origin = finding.autopsy.origin
    if origin is not None:
        yield location(origin)
    if origin is None or not same_line(origin, finding.autopsy):
        yield location(finding.autopsy)


def _few(lines: tuple[str, ...]) -> tuple[str, ...]:
    if len(lines) <= _LINES:
        return lines
    return (*lines[: _LINES - 1], f"and {len(lines) - _LINES + 1:,} more lines")


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
