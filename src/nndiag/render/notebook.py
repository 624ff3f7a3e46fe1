"""A run, or one finding, as HTML in the output of a notebook's cell."""

from __future__ import annotations

import zlib

from nndiag import rules
from nndiag.records import Finding, Run
from nndiag.render.page import fill
from nndiag.report.autopsy import tell
from nndiag.report.blocks import Block, KeyValues, Verdict
from nndiag.report.build import build
from nndiag.report.cards import deal

_SHOWN = ("findings", "autopsy", "layers", "notes")
"""Sections of a report that a cell shows; the page has the others, too."""


def fragment(value: Run | Finding) -> str:
    """What a notebook shows of a run or a finding: escaped, styled, without a script.

    Of a run: the verdict, the findings beside their pictures, the layers and the notes.
    The styles hold inside the fragment alone. Colours follow the notebook where it says
    whether it is light or dark (JupyterLab, VS Code, Colab), else the reader's
    preference.

    Args:
        value: a run read back from its directory, or a finding of it.
    """
    if isinstance(value, Finding):
        return _fill(None, None, _cards(value), mark=value.title)
    report = build(value, rules.diagnose(value))
    sections = [report.section(name) for name in _SHOWN]
    blocks = [
        (section.name, section.title, section.blocks)
        for section in sections
        if section is not None
    ]
    return _fill(report.verdict, report.facts, blocks, mark=str(value.path.absolute()))


_Blocks = list[tuple[str, str, tuple[Block, ...]]]


def _cards(finding: Finding) -> _Blocks:
    blocks: _Blocks = [("", "", deal([finding], {}))]
    if finding.autopsy is not None:
        blocks.append(("autopsy", "Autopsy", (tell(finding.autopsy),)))
    return blocks


def _fill(
    verdict: Verdict | None, facts: KeyValues | None, sections: _Blocks, *, mark: str
) -> str:
    return fill(
        "notebook.html",
        verdict=verdict,
        facts=facts,
        sections=sections,
        prefix=f"nndiag-{zlib.crc32(mark.encode('utf-8', 'backslashreplace')):08x}-",
    )
