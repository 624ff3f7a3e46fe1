import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest

from nndiag.render import html
from nndiag.report import build

HOSTILE = '<script>alert("x")</script><img src="https://example.org/x" onerror=y>'


class Page(HTMLParser):
    """Tags and attributes of a page, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.identities, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.identities += [value for name, value in attributes if name == "id"]

    def handle_data(self, data):
        self.words.append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(sick):
    return html(sick)


@pytest.fixture(scope="module")
def hostile_page(example):
    site = example.Site(
        f"{HOSTILE}/sigmoid",
        kind="activation",
        scope=HOSTILE,
        function=HOSTILE,
        file=HOSTILE,
        line=3,
    )
    run = example.sick_run(steps=20)
    (finding, *_) = example.findings(run)
    texts = dict.fromkeys(("code", "name", "title", "cause"), HOSTILE)
    evidence = example.Evidence(
        quantity=HOSTILE, value=1.0, threshold=2.0, source=HOSTILE
    )
    finding = example.replace(
        finding, **texts, sites=(site,), remedies=(HOSTILE,), evidence=(evidence,)
    )
    number = np.full(run.recorded.shape, 0.5)
    hostile = example.replace(
        run,
        header=example.Header(
            target=HOSTILE,
            command=HOSTILE,
            settings={HOSTILE: HOSTILE},
            versions={HOSTILE: HOSTILE},
            device=HOSTILE,
        ),
        sites=(site,),
        evaluations={f"loss {HOSTILE}": (np.array([3]), np.array([1.0]))},
        readings={
            ("value", "saturated", site): number,
            ("value", "largest", site): number,
            ("cotangent", "norm", site): number,
        },
        samples={(site, 0): np.linspace(0, 1, 9)},
        notes=(HOSTILE,),
    )
    return html(build(hostile, (finding,)))


def test_hostile_text_stays_text(hostile_page):
    page = Page(hostile_page)
    assert page.named("script") == []
    assert page.named("img") == []
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    words = "".join(page.words)
    # title, facts, cards, table, settings, versions, notes, pictures
    assert words.count('<script>alert("x")</script>') > 15


def test_nothing_is_fetched(page, hostile_page):
    for text in (page, hostile_page):
        for tag, attributes in Page(text).tags:
            for name in ("src", "href", "xlink:href", "action", "data", "srcset"):
                target = attributes.get(name) or ""
                assert target == "" or target.startswith(("#", "data:")), (tag, target)
        styles = re.sub(r"&[^;]*;", "", text)
        for target in re.findall(r"url\(([^)]*)\)", styles):
            assert target.strip("\"'").startswith("#")
        assert "@import" not in text
        assert "default-src 'none'" in text


def test_every_picture_has_its_alternative_text(page, sick):
    tags = Page(page)
    pictures = tags.named("svg")
    assert len(pictures) == len(sick.pictures()) == 7
    for picture, attributes in zip(sick.pictures(), pictures, strict=True):
        assert attributes["role"] == "img"
        assert attributes["aria-labelledby"] == f"{picture.name}-text"
        assert tags.identities.count(f"{picture.name}-text") == 1
        assert picture.alternative in "".join(tags.words)


def test_identities_are_unique_and_links_lead_somewhere(page):
    tags = Page(page)
    assert len(tags.identities) == len(set(tags.identities))
    links = re.findall(r'(?:href="#|url\(#)([^")]+)', page)
    assert links and set(links) <= set(tags.identities)


def test_verdict_comes_first_and_headings_step_down_one_by_one(page, sick):
    tags = Page(page)
    ranks = [int(tag[1]) for tag, _ in tags.tags if re.fullmatch(r"h[1-6]", tag)]
    assert ranks[0] == 1 and ranks.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(ranks))
    assert page.index("does not learn", page.index("<h1>")) < page.index("<h2")
    landmarks = [tag for tag, _ in tags.tags if tag in ("main", "footer")]
    assert landmarks == ["main", "footer"]


def test_colours_are_the_pages_own(page):
    drawn = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert re.findall(r"(?:fill|stroke): ?#[0-9a-f]{6}", drawn) == []
    assert "prefers-color-scheme: dark" in page and "@media print" in page


def test_same_report_gives_the_same_page(sick, page):
    assert html(sick) == page


def test_healthy_and_empty_runs_have_pages(healthy, empty):
    assert "Healthy: no problem found" in html(healthy)
    assert "no step was recorded" in html(empty)
    assert "<svg" not in html(empty)
