"""Reads a stored run, diagnoses it, and writes its report beside it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from nndiag import render, report, rules, store
from nndiag.errors import RunError
from nndiag.records import Finding, Run


class Outcome(NamedTuple):
    """What came of a run.

    Attributes:
        path: the run directory.
        run: the run, as read back.
        findings: what is wrong with it, most important first.
        page: the HTML report.
        pictures: the PNG pictures.
    """

    path: Path
    run: Run
    findings: tuple[Finding, ...]
    page: Path
    pictures: tuple[Path, ...]


def publish(path: Path, *, dpi: int = 150) -> Outcome:
    """Writes ``report.html`` and ``figures/*.png`` into a run directory.

    Raises:
        RunError: `path` is no readable run directory, or cannot be written to.
    """
    run = store.read(path)
    findings = rules.diagnose(run)
    contents = report.build(run, findings)
    page = path / "report.html"
    try:
        page.write_text(render.html(contents), encoding="utf-8")
        pictures = render.save_figures(contents, path / "figures", dpi=dpi)
    except OSError as error:
        raise RunError(f"the report cannot be written into {path}: {error}") from error
    return Outcome(path, run, findings, page, tuple(pictures))
