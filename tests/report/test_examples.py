"""The table of the examples that pull hardest."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from nndiag.records import hardest
from nndiag.report.build import build


def section(run):
    found = [one for one in build(run, ()).sections if one.name == "examples"]
    return found[0] if found else None


def run_with(example, norms):
    run = example.healthy_run()
    return dataclasses.replace(
        run, examples={step: hardest(np.array(own)) for step, own in norms.items()}
    )


def test_without_them_there_is_no_section(example) -> None:
    assert section(example.healthy_run()) is None


def test_the_steps_in_which_one_example_leads_are_shown(example) -> None:
    norms = {step: [1.0, 1.0 + step / 10, 1.0] for step in range(0, 200, 10)}
    norms[70] = [2.0, 2.0, 900.0]
    (table,) = section(run_with(example, norms)).blocks
    steps = [row[0].text for row in table.rows]
    assert steps == ["70", "150", "160", "170", "180", "190"]
    texts = [cell.text for cell in table.rows[0]]
    assert texts == ["70", "3", "2.00", "900", "450×", "2, 0, 1"]
    assert all(cell.level is None for row in table.rows for cell in row)


def test_an_example_that_is_not_finite_is_an_error(example) -> None:
    (table,) = section(run_with(example, {3: [1.0, math.nan], 4: [1.0, 2.0]})).blocks
    first = table.rows[0]
    assert [first[0].text, first[5].text] == ["3", "1, 0"]
    assert first[3].level == "error"
    assert table.rows[1][3].level is None
