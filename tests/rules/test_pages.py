"""The documentation page of a rule is its docstring, and is what the reader gets."""

import importlib.util
from pathlib import Path

import pytest

from nndiag.errors import SettingError
from nndiag.rules import CATALOGUE, explain
from nndiag.rules.explanation import PAGES

ROOT = Path(__file__).parents[2]
HEADINGS = [
    "What it measures",
    "Why it matters",
    "When it fires",
    "What to do",
    "Known limits",
    "References",
]


def sections(page):
    """Heading to text."""
    parts = page.split("\n## ")[1:]
    return {part.split("\n", 1)[0]: part.split("\n", 1)[1].strip() for part in parts}


@pytest.mark.parametrize("code", PAGES)
def test_a_page_has_every_heading_in_order_with_text_under_it(code):
    found = sections(PAGES[code])
    assert list(found) == HEADINGS
    assert all(len(text) > 20 for text in found.values())


@pytest.mark.parametrize("rule", CATALOGUE, ids=lambda rule: rule.code)
def test_the_page_is_headed_by_code_and_file_name(rule):
    assert PAGES[rule.code].splitlines()[0] == f"# {rule.code} {rule.name}"
    assert rule.examine.__module__ == f"nndiag.rules.{rule.name}"


@pytest.mark.parametrize("rule", CATALOGUE, ids=lambda rule: rule.code)
def test_explain_takes_code_or_name_in_either_case(rule):
    assert explain(rule.code) == explain(rule.code.lower()) == rule.page
    assert explain(rule.name) == explain(rule.name.upper()) == rule.page


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("ND209", "ND20[1-6]"), ("vanishing", "ND201"), ("deadunits", "ND102")],
)
def test_an_unknown_code_is_answered_with_near_ones(wrong, meant):
    with pytest.raises(SettingError, match=meant) as error:
        explain(wrong)
    assert repr(wrong) in str(error.value)


def test_a_code_near_to_nothing_is_answered_with_the_list():
    with pytest.raises(SettingError, match=r"Known: ND000, ND101, .*ND701"):
        explain("?")


def test_the_pages_in_the_documentation_are_current():
    path = ROOT / "docs" / "make_findings.py"
    spec = importlib.util.spec_from_file_location("make_findings", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.stale() == [], "run: python docs/make_findings.py"
