"""Gradient checks in words: the verdict, the leaves, the evidence, the guilty rule."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from nndiag.records.gradcheck import GradCheck, GuiltyRule, LeafCheck
from nndiag.report.blocks import (
    Block,
    Cell,
    CheckCard,
    KeyValues,
    Level,
    Paragraphs,
    Report,
    Section,
    Table,
    Verdict,
)
from nndiag.report.leaves import count_leaves, leaf_cards, leaf_table, rank, sentence
from nndiag.report.remainders import remainders
from nndiag.report.units import number, printable
from nndiag.rules.words import precise


def arrange(checks: Sequence[GradCheck]) -> Report:
    """What there is to say about one function, or about several at once.

    Of several functions each has a row, and only those that are not right are told in
    full.

    Args:
        checks: one for each function, at least one.
    """
    several = len(checks) > 1
    sections: list[Section] = []
    if several:
        table = _functions(checks)
        sections.append(Section("functions", "Functions", (table,)))
    for place, check in enumerate(checks, start=1):
        if several and check.ok is True:
            continue
        prefix = f"{printable(check.function)}: " if several else ""
        anchor = f"-{place}" if several else ""
        sections += _sections(check, prefix, anchor)
    leaves = [leaf for check in checks for leaf in check.leaves]
    return Report(
        title=printable(", ".join(check.function for check in checks[:3]))
        + (f" and {len(checks) - 3} more" if len(checks) > 3 else ""),
        verdict=judge(checks),
        facts=KeyValues(tuple(_facts(checks, leaves))),
        sections=tuple(sections),
        layers=(),
        marks=(),
    )


def judge(checks: Sequence[GradCheck]) -> Verdict:
    """The verdict on one or several functions in one sentence."""
    leaves = [leaf for check in checks for leaf in check.leaves]
    subject = f"The gradient of {printable(checks[0].function)} is"
    if len(checks) > 1:
        subject = f"The gradients of {len(checks)} functions are"
    looked_at = [leaf for leaf in leaves if leaf.verdict != "skipped"]
    total = count_leaves(len(looked_at))
    wrong = [leaf for leaf in leaves if leaf.verdict == "wrong"]
    if wrong:
        named = ", ".join(printable(leaf.path) for leaf in wrong[:2])
        more = f" and {len(wrong) - 2} more" if len(wrong) > 2 else ""
        if len(checks) > 1:
            bad = [check for check in checks if check.ok is False]
            subject = f"The gradient of {printable(bad[0].function)} is"
            if len(bad) > 1:
                subject = f"The gradients of {len(bad)} of {len(checks)} functions are"
        found = f"{len(wrong)} of {total}" if len(looked_at) > 1 else "its only leaf"
        return Verdict("error", f"{subject} wrong in {found}: {named}{more}.")
    if any(check.ok is False for check in checks):
        bad = next(check for check in checks if check.ok is False)
        return Verdict("error", f"{printable(bad.function)}: {_other_fault(bad)}.")
    undecided = sum(leaf.verdict == "undecided" for leaf in leaves)
    if any(check.ok is None for check in checks):
        rest = "the rest is right" if undecided < len(looked_at) else "see why below"
        return Verdict(
            "warning", f"{subject} not decided in {undecided} of {total}; {rest}."
        )
    each = f"in all {total}" if len(looked_at) > 1 else f"in {total}"
    return Verdict("healthy", f"{subject} right {each}.")


def _other_fault(check: GradCheck) -> str:
    """What is wrong where no leaf is."""
    duality = check.forward_reverse
    if duality is not None and duality.agree is False:
        return "forward and reverse mode disagree"
    return "the gradient is right, but its own derivative, the Hessian, is wrong"


def _facts(
    checks: Sequence[GradCheck], leaves: Sequence[LeafCheck]
) -> Iterator[tuple[str, str]]:
    if len(checks) > 1:
        yield "Functions", f"{len(checks):,}"
    for verdict in ("right", "wrong", "undecided", "skipped"):
        amount = sum(leaf.verdict == verdict for leaf in leaves)
        if amount or verdict == "right":
            yield f"Leaves {verdict}", f"{amount:,}"
    elements = sum(
        math.prod(leaf.shape) for leaf in leaves if leaf.verdict != "skipped"
    )
    yield "Elements", f"{elements:,}"
    yield "Evaluations", f"{sum(check.evaluations for check in checks):,}"


def _sections(check: GradCheck, prefix: str, anchor: str) -> Iterator[Section]:
    def section(name: str, title: str, blocks: Iterable[Block]) -> Iterator[Section]:
        kept = tuple(blocks)
        if kept:
            heading = f"{prefix}{title}" if prefix else title
            yield Section(f"{name}{anchor}", heading, kept)

    ranked = rank(check.leaves)
    yield from section("leaves", "Leaves", [leaf_table(ranked)] if ranked else ())
    yield from section("proof", "Evidence", _evidence(check, f"taylor{anchor}"))
    rules = [_rule(check.rule)] if check.rule else []
    yield from section("rule", "The custom rule to blame", rules)
    summary = [Paragraphs((sentence(check.cause.text),))] if check.cause else []
    cards = leaf_cards(ranked, anchor)
    yield from section("findings", "What is not right", (*summary, *cards))
    remedies = dict.fromkeys(
        sentence(remedy) for finding in check.findings for remedy in finding.remedies
    )
    yield from section(
        "remedies", "What to try", (Paragraphs(tuple(remedies)),) if remedies else ()
    )
    notes = tuple(map(sentence, check.notes))
    yield from section("notes", "Notes", (Paragraphs(notes),) if notes else ())


def _functions(checks: Sequence[GradCheck]) -> Table:
    words: dict[bool | None, tuple[str, Level]] = {
        True: ("right", "healthy"),
        False: ("wrong", "error"),
        None: ("undecided", "warning"),
    }

    def row(check: GradCheck) -> tuple[Cell, ...]:
        duality = check.forward_reverse
        agree = None if duality is None else duality.agree
        modes = {True: "agree", False: "disagree", None: "–"}[agree]
        order = check.taylor_order
        errors = [leaf.largest_error for leaf in check.leaves]
        known = [error for error in errors if error == error]
        return (
            Cell(printable(check.function)),
            Cell(f"{len(check.leaves):,}"),
            Cell(number(max(known)) if known else "–"),
            Cell(modes, "error" if agree is False else None),
            Cell(f"{order:.2f}" if order == order else "–"),
            Cell(*words[check.ok]),
        )

    ranked = sorted(checks, key=lambda check: (check.ok is True, check.ok is None))
    return Table(
        columns=("Function", "Leaves", "Largest error", "Modes", "Taylor", "Verdict"),
        rows=tuple(row(check) for check in ranked),
        note="Modes: forward against reverse. Taylor: order of the remainder, 2 for a "
        "right gradient.",
    )


def _evidence(check: GradCheck, name: str) -> Iterator[Block]:
    facts: list[tuple[str, str]] = []
    duality = check.forward_reverse
    if duality is not None and duality.agree is None:
        facts.append(("Forward against reverse", printable(duality.note) or "unknown"))
    elif duality is not None:
        words = "agree" if duality.agree else "disagree"
        apart = abs(duality.forward - duality.reverse)
        facts.append(
            (
                "Forward against reverse",
                f"{words}: {precise(duality.forward)} by jvp, "
                f"{precise(duality.reverse)} by vjp; {number(apart)} apart, rounding "
                f"explains {number(duality.bound)}",
            )
        )
    if check.taylor is not None:
        order = check.taylor_order
        text = f"order {order:.2f} (2 of a right gradient, 1 of a wrong one)"
        if order != order:
            text = "no remainder above rounding, as of a linear function"
        facts.append(("Taylor remainder", text))
    if check.hessian is not None:
        error = number(check.hessian)
        facts.append(("Hessian", f"relative asymmetry or error {error}"))
    if facts:
        yield KeyValues(tuple(facts))
    picture = remainders(check.taylor, name) if check.taylor else None
    if picture is not None:
        yield picture


def _rule(rule: GuiltyRule) -> CheckCard:
    place = f"{rule.file}:{rule.line}" if rule.file else "unknown"
    return CheckCard(
        level="error",
        label=rule.kind,
        title=f"The {rule.kind} of {printable(rule.name)} is not its derivative.",
        text=sentence(rule.explanation),
        facts=(("Line", printable(place)),),
    )
