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


@pytest.fixture(scope="module")
def autopsied(example, autopsies):
    """A run with an autopsy of each kind, and a finding that one of them located."""
    run = example.replace(
        example.healthy_run(), autopsies=dict(enumerate(autopsies.values()))
    )
    (finding, *_) = example.findings(example.sick_run(steps=20))
    located = example.replace(finding, symptoms=(), autopsy=autopsies["softmax"])
    return build(run, (located,))


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


def test_an_autopsy_shows_line_operands_and_the_line_to_write(autopsied):
    page = Page(html(autopsied))
    words = "".join(page.words)
    # the frame of the finding; origin and rewrite of the autopsy
    assert words.count("p = jnp.exp(z) / jnp.exp(z).sum(axis=1, keepdims=True)") == 3
    assert words.count("p = jax.nn.softmax(z, axis=1)") == 2
    assert "    ^ exp made Inf of 103.279" in page.words
    assert "^ div made NaN of Inf and Inf" in page.words
    assert "r = jnp.sqrt(jnp.where(x > 0, x, 1.0))" in words
    assert "params['w'] already held NaN at [0, 3]." in words
    assert "only the compiled program fails" in words
    operands = [a for a in page.named("div") if a.get("aria-label") == "Operands"]
    assert len(operands) == 5


def test_the_page_of_an_autopsy_is_as_sound_as_any(autopsied):
    text = html(autopsied)
    page = Page(text)
    assert len(page.identities) == len(set(page.identities))
    links = re.findall(r'(?:href="#|url\(#)([^")]+)', text)
    assert "autopsy" in links and set(links) <= set(page.identities)
    ranks = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(b - a <= 1 for a, b in pairwise(ranks))
    chains = [p for p in autopsied.pictures() if p.name.startswith("chain-")]
    assert [chain.name for chain in chains] == ["chain-0", "chain-1", "chain-4"]
    for chain in chains:
        assert page.identities.count(f"{chain.name}-text") == 1
        assert chain.alternative in "".join(page.words)
    drawn = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    assert re.findall(r"(?:fill|stroke): ?#[0-9a-f]{6}", drawn) == []


def test_a_hostile_autopsy_stays_text(example, autopsies):
    softmax = autopsies["softmax"]
    texts = ("primitive", "file", "source", "scope", "output", "cause", "rewrite")
    loud = dict.fromkeys(texts, HOSTILE)
    link = example.replace(softmax.chain[0], primitive=HOSTILE, file=HOSTILE)
    operand = example.replace(softmax.result, dtype=HOSTILE)
    hostile = example.replace(
        softmax,
        **loud,
        argument=HOSTILE,
        path=(HOSTILE,),
        notes=(HOSTILE,),
        operands=(operand,),
        chain=(link, link),
        origin=example.replace(softmax.origin, **loud),
    )
    run = example.replace(example.healthy_run(), autopsies={3: hostile})
    (finding, *_) = example.findings(example.sick_run(steps=20))
    finding = example.replace(finding, symptoms=(), autopsy=hostile)
    page = Page(html(build(run, (finding,))))
    assert page.named("script") == [] and page.named("img") == []
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert "".join(page.words).count("<script>") > 12
