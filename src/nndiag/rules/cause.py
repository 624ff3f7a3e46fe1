"""Which finding explains which: symptoms hang under their cause."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from nndiag.records import Finding, Severity


def _always(cause: Finding, symptom: Finding) -> bool:
    return True


def _earlier(cause: Finding, symptom: Finding) -> bool:
    return cause.first_step <= symptom.first_step


def _same_layers(cause: Finding, symptom: Finding) -> bool:
    return not set(cause.sites).isdisjoint(symptom.sites)


def _too_large(cause: Finding, symptom: Finding) -> bool:
    return cause.evidence[0].value > 1


def _too_small(cause: Finding, symptom: Finding) -> bool:
    return cause.evidence[0].value < 1


EXPLAINS: tuple[tuple[str, str, Callable[[Finding, Finding], bool]], ...] = (
    ("ND701", "ND101", _same_layers),
    ("ND701", "ND301", _too_large),
    ("ND701", "ND202", _too_large),
    ("ND701", "ND206", _too_large),
    ("ND701", "ND102", _too_large),
    ("ND701", "ND205", _too_small),
    ("ND103", "ND206", _too_large),
    ("ND206", "ND102", _earlier),
    ("ND206", "ND101", _earlier),
    ("ND102", "ND201", _same_layers),
    ("ND201", "ND101", _same_layers),
    ("ND201", "ND103", _same_layers),
    ("ND201", "ND205", _always),
    ("ND103", "ND202", _same_layers),
    ("ND103", "ND301", _too_large),
    ("ND206", "ND202", _earlier),
    ("ND202", "ND303", _always),
    ("ND206", "ND303", _always),
    ("ND303", "ND401", _earlier),
    ("ND202", "ND401", _earlier),
    ("ND206", "ND401", _earlier),
    ("ND202", "ND402", _earlier),
    ("ND206", "ND402", _earlier),
    ("ND401", "ND402", _always),
)
"""(cause, symptom, when). The first line that applies to a symptom decides."""

_SEVEREST: tuple[Severity, ...] = ("error", "warning", "info")


def arrange(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Nest symptoms under their causes and rank what is left.

    A cause is at least as severe as what it explains. Ranked by severity, then by
    confidence, then by code and first step: the order of the input does not matter.
    What ended the run, where its replay found the equation, stands before all else:
    what may have led there follows it.

    Returns:
        The root causes, each with its symptoms, ranked likewise.
    """
    ordered = sorted(findings, key=_rank)
    parents: dict[int, int] = {}
    for index in range(len(ordered)):
        parent = _parent(index, ordered, parents)
        if parent is not None:
            parents[index] = parent

    def tree(index: int) -> Finding:
        symptoms = _ranked(tree(child) for child in parents if parents[child] == index)
        every = (ordered[index], *symptoms)
        worst = min((finding.severity for finding in every), key=_SEVEREST.index)
        return replace(ordered[index], severity=worst, symptoms=symptoms)

    return _ranked(tree(index) for index in range(len(ordered)) if index not in parents)


def _parent(
    index: int, findings: Sequence[Finding], parents: dict[int, int]
) -> int | None:
    """The finding that explains this one, unless it is itself explained by it."""
    symptom = findings[index]
    if _is_found(symptom):
        return None
    for code, explained, when in EXPLAINS:
        if explained != symptom.code:
            continue
        for other, cause in enumerate(findings):
            if (
                cause.code == code
                and when(cause, symptom)
                and index not in _chain(other, parents)
            ):
                return other
    return None


def _is_found(finding: Finding) -> bool:
    """Whether it is a fault of which a replay shows the equation."""
    return finding.severity == "error" and finding.autopsy is not None


def _chain(index: int, parents: dict[int, int]) -> Iterator[int]:
    """A finding, its cause, the cause of that, and so on."""
    yield index
    if index in parents:
        yield from _chain(parents[index], parents)


def _ranked(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=_rank))


def _rank(finding: Finding) -> tuple[int, bool, float, str, int, str]:
    return (
        _SEVEREST.index(finding.severity),
        not _is_found(finding),
        -finding.confidence,
        finding.code,
        finding.first_step,
        finding.title,
    )
