"""What a report consists of: plain values, with no word about looks.

Every renderer lowers the same blocks; tables carry text, pictures carry numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from nndiag.records import Severity
from nndiag.report.picture import Caption, ErrorMap, Flow, Picture
from nndiag.report.rollup import TableRow

Level = Literal["error", "warning", "info", "healthy"]
"""How a run, or a number of it, was judged."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """One number of a finding, in words.

    Attributes:
        quantity: what was measured.
        value: the number.
        threshold: what it was held against, ``""`` if nothing.
        source: where the threshold comes from.
    """

    quantity: str
    value: str
    threshold: str = ""
    source: str = ""


@dataclass(frozen=True)
class Finger:
    """What is said of a place in a line: `caret` is its position, `None` if unknown."""

    caret: int | None
    label: str


@dataclass(frozen=True, kw_only=True)
class CodeFrame:
    """A line of the user's source, and what to write instead.

    Attributes:
        place: such as ``"train.py:41:12"``.
        line: its number, 0 if unknown.
        source: the line, ``""`` if it could not be read.
        fingers: what is said of places in `source`, in the order of the events.
        instead: the lines to write in its place.
    """

    place: str
    line: int
    source: str
    fingers: tuple[Finger, ...] = ()
    instead: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FindingCard:
    """A finding in words, beside the picture that proves it.

    Attributes:
        code: such as ``"ND201"``.
        name: of the disease, in words.
        title: the verdict as one sentence.
        severity: as the rule set it.
        confidence: such as ``"92 % sure"``.
        where: the places, in forward order.
        lines: the lines of source, ``"file:line"``.
        when: the steps.
        evidence: the numbers.
        cause: why.
        remedies: what to try, most promising first.
        picture: the proof, unless it is not there or stands with another card.
        see: name of the picture that stands with another card, else ``""``.
        symptoms: findings of the same chain that this one leads.
        frame: the line of source that a replay has found.
        autopsied: whether an autopsy tells more.
    """

    code: str
    name: str
    title: str
    severity: Severity
    confidence: str
    where: str
    lines: tuple[str, ...]
    when: str
    evidence: tuple[Proof, ...]
    cause: str
    remedies: tuple[str, ...]
    picture: Picture | None
    see: str
    symptoms: tuple[FindingCard, ...]
    frame: CodeFrame | None = None
    autopsied: bool = False


@dataclass(frozen=True)
class Cell:
    """One cell of a table: text, and the verdict on it, if there is one."""

    text: str
    level: Level | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells under a heading each."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class AutopsyCard:
    """The equation that made the first NaN or Inf, and the story around it.

    Attributes:
        level: ``"error"`` if the output shows it, else ``"warning"``.
        title: the fault as one sentence.
        when: the step that was replayed, ``""`` if none was named.
        frames: the lines of source, of the origin first, if they could be read.
        facts: where in the program, which elements, from where, to where.
        operands: what went in and what came out.
        chain: the way from the origin to the symptom, `None` if there is none.
        cause: why.
        rewrite: the line to write instead, `None` if that is not known.
        advice: what to do, if it is no line of code.
        notes: what the replay could not see.
    """

    level: Level
    title: str
    when: str
    frames: tuple[CodeFrame, ...]
    facts: tuple[tuple[str, str], ...]
    operands: Table | None
    chain: Flow | None
    cause: str
    rewrite: CodeFrame | None
    advice: str
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CheckCard:
    """A part of a gradient check that needs words: a leaf, a rule, a finding.

    Attributes:
        level: how bad it is.
        label: what kind of part it is, ``"wrong"`` or ``"custom_vjp"``.
        title: which one.
        text: what is the matter, in words.
        facts: the numbers.
        elements: single elements, given beside expected, `None` if none is known.
        picture: where the errors are, `None` if that was not looked at.
    """

    level: Level
    label: str
    title: str
    text: str
    facts: tuple[tuple[str, str], ...] = ()
    elements: Table | None = None
    picture: ErrorMap | None = None


@dataclass(frozen=True)
class KeyValues:
    """Names and what they stand for."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Paragraphs:
    """Sentences that stand on their own, one each."""

    texts: tuple[str, ...]


Block = Picture | FindingCard | AutopsyCard | CheckCard | Table | KeyValues | Paragraphs


@dataclass(frozen=True)
class Section:
    """A titled part of a report; `name` is its anchor."""

    name: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Verdict:
    """The whole report in one sentence."""

    level: Level
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that there is to say about a run, in the order in which to say it.

    Attributes:
        title: name of the run.
        verdict: first of all.
        facts: what was run, for how long, and how it ended.
        sections: the rest; a section with nothing to say is absent.
        layers: the numbers behind the layer table; of many layers the worst, and the
            others by scope.
        marks: for each row of it, the verdict on its numbers, by field of `LayerRow`.
    """

    title: str
    verdict: Verdict
    facts: KeyValues
    sections: tuple[Section, ...]
    layers: tuple[TableRow, ...]
    marks: tuple[Mapping[str, Level], ...]

    def section(self, name: str) -> Section | None:
        """The section of that name, if there is one."""
        return next((s for s in self.sections if s.name == name), None)

    def cards(self) -> tuple[FindingCard, ...]:
        """The findings, without the symptoms nested in them."""
        section = self.section("findings")
        blocks = section.blocks if section else ()
        return tuple(block for block in blocks if isinstance(block, FindingCard))

    def pictures(self) -> tuple[Picture, ...]:
        """Every picture once, in order of appearance."""
        found: list[Picture] = []

        def visit(block: Block) -> None:
            if isinstance(block, FindingCard):
                if block.picture is not None:
                    found.append(block.picture)
                for symptom in block.symptoms:
                    visit(symptom)
            elif isinstance(block, AutopsyCard):
                if block.chain is not None:
                    found.append(block.chain)
            elif isinstance(block, CheckCard):
                if block.picture is not None:
                    found.append(block.picture)
            elif isinstance(block, Caption):
                found.append(block)

        for section in self.sections:
            for block in section.blocks:
                visit(block)
        return tuple(found)
