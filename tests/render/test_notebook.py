"""What a notebook shows: whole, escaped, and without a mark on what stands around."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from nndiag import rules
from nndiag.notebook import Shown
from nndiag.records import Header
from nndiag.render import theme
from nndiag.store import create, read

HOSTILE = '</style><script>alert("x")</script><img src=x onerror=y>"\'`{{ 1 }}'


class Fragment(HTMLParser):
    """Tags, text and references of a fragment."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words = [], [], []
        self.identities, self.references = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in {"br", "meta", "img"}:
            self.open.append(tag)
        for name, value in attributes:
            if name == "id":
                self.identities.append(value)
            if name == "href" or name == "xlink:href":
                self.references.append(value)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return "".join(self.words)


@pytest.fixture(scope="module")
def sick_run(example):
    return example.sick_run(steps=40)


@pytest.fixture(scope="module")
def shown(sick_run):
    return Fragment(sick_run._repr_html_())


@pytest.fixture(scope="module")
def finding(example, sick_run):
    return example.findings(sick_run)[0]


@pytest.fixture(scope="module")
def hostile_run(example):
    site = example.Site(
        HOSTILE, kind="activation", scope=HOSTILE, function=HOSTILE, file=HOSTILE
    )
    run = example.sick_run(steps=20)
    number = np.full(run.recorded.shape, 0.99)
    return example.replace(
        run,
        header=example.Header(target=HOSTILE, command=HOSTILE, device=HOSTILE),
        sites=(site,),
        loss=np.full(run.loss.shape, np.nan),
        evaluations={HOSTILE: (np.array([3]), np.array([1.0]))},
        readings={
            ("value", "saturated", site): number,
            ("value", "slope", site): 1 - number,
            ("cotangent", "norm", site): number,
        },
        samples={},
        notes=(HOSTILE,),
    )


def test_a_run_shows_verdict_findings_pictures_and_layers(sick_run, shown):
    found = rules.diagnose(sick_run)
    assert found
    for finding in found:
        assert finding.title in shown.text
    assert "svg" in {tag for tag, _ in shown.tags}
    for layer in sick_run.layers():
        assert layer.name in shown.text


def test_a_finding_shows_its_numbers_cause_and_remedies(finding):
    shown = Fragment(finding._repr_html_())
    for text in (finding.code, finding.title, *finding.remedies):
        assert text in shown.text
    assert all(symptom.title in shown.text for symptom in finding.symptoms)


@pytest.mark.parametrize("of", ["run", "finding"])
def test_hostile_names_stay_text(example, hostile_run, finding, of):
    if of == "finding":
        texts = dict.fromkeys(("code", "name", "title", "cause", "picture"), HOSTILE)
        evidence = (example.Evidence(quantity=HOSTILE, value=1.0, source=HOSTILE),)
        value = example.replace(
            finding,
            **texts,
            sites=hostile_run.sites,
            remedies=(HOSTILE,),
            evidence=evidence,
        )
    else:
        assert rules.diagnose(hostile_run)
        value = hostile_run
    shown = Fragment(value._repr_html_())
    assert shown.open == []
    assert not {tag for tag, _ in shown.tags} & {"script", "img", "iframe", "link"}
    assert not any(name.startswith("on") for _, names in shown.tags for name in names)
    assert [tag for tag, _ in shown.tags].count("style") == 1 + shown.text.count(
        "*{stroke-linejoin"
    )
    assert shown.text.count('<script>alert("x")</script>') > 4
    assert "{{ 1 }}" in shown.text


def test_nothing_is_fetched(sick_run):
    text = sick_run._repr_html_()
    assert not re.search(r"@import|url\((?!#)|src=|https?://(?!www\.w3\.org)", text)


def rules_of(css):
    """The selectors at the top of a sheet, each with its block."""
    depth, start, selector = 0, 0, ""
    for place, sign in enumerate(css):
        if sign == "{":
            depth += 1
            if depth == 1:
                selector, start = css[start:place].strip(), place + 1
        elif sign == "}":
            depth -= 1
            if depth == 0:
                yield selector, css[start:place]
                start = place + 1
    assert depth == 0


def test_styles_hold_inside_alone(finding):
    (css,) = re.findall(r"<style>(.*?)</style>", finding._repr_html_(), re.DOTALL)
    assert "&amp;" not in css
    top = [
        inner
        for selector, block in rules_of(css)
        for inner in (
            [name for name, _ in rules_of(block)]
            if selector.startswith("@media")
            else [selector]
        )
    ]
    assert len(top) == 5
    for selector in top:
        assert all(part.strip().endswith(".nndiag") for part in selector.split(","))


def test_it_is_light_and_dark(finding):
    text = finding._repr_html_()
    for palette in (theme.LIGHT, theme.DARK):
        assert text.count(f"--paper: {palette['paper']};") == 2
    assert "prefers-color-scheme: dark" in text
    assert '[data-jp-theme-light="false"] .nndiag' in text


def test_ids_are_the_runs_own_and_references_meet(example, sick_run, shown):
    other = example.replace(sick_run, path=sick_run.path / "other")
    shown_other = Fragment(other._repr_html_())
    assert shown.identities and len(set(shown.identities)) == len(shown.identities)
    assert not set(shown.identities) & set(shown_other.identities)
    inside = {name for name in shown.references if name.startswith("#")}
    assert {name[1:] for name in inside} <= set(shown.identities)


def test_a_finding_that_a_replay_located_shows_the_replay(example, finding, autopsies):
    found = autopsies["softmax"]
    located = example.replace(finding, symptoms=(), autopsy=found)
    shown = Fragment(located._repr_html_())
    assert found.source in shown.text
    assert shown.references and {
        name[1:] for name in shown.references if name.startswith("#")
    } <= set(shown.identities)


def test_a_loaded_run_shows_itself_and_its_text_is_short(tmp_path):
    writer = create(tmp_path / "run", Header(target="a:b"))
    writer.close("interrupted")
    run = read(tmp_path / "run")
    assert "interrupted" in Fragment(run._repr_html_()).text


def test_the_text_of_a_run_leaves_its_arrays_out(example):
    short, long = (repr(example.sick_run(steps=steps)) for steps in (20, 4_000))
    assert "hidden_1" in short and "readings=" not in short
    assert len(long) < 10_000  # NumPy shortens what is longer than a thousand


def test_where_nobody_draws_there_is_no_html(finding, monkeypatch):
    monkeypatch.setattr(Shown, "artist", None)
    assert finding._repr_html_() is None
