"""Gradient checks on a terminal, as pictures, as a page and as JSON."""

import io
import json
import math
from dataclasses import asdict, replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from rich.console import Console

from nndiag.render import (
    gradcheck_json,
    gradcheck_text,
    html,
    print_gradcheck,
    save_figures,
)
from nndiag.render.figures import draw
from nndiag.render.figures.errormap import tint
from nndiag.report.errormap import MOST_CELLS, error_map, thin
from nndiag.report.gradcheck import arrange
from nndiag.report.remainders import remainders

NAMES = ["right", "wrong", "crowded", "disagreeing", "undecided"]


def printed(console, checks, **how):
    print_gradcheck(console, checks, **how)
    return console.file.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_check(name, checks, console, golden):
    golden(printed(console(80), [checks[name]]))


def test_several_functions(checks, console, golden):
    several = [checks["right"], checks["wrong"], checks["undecided"]]
    named = [replace(check, function=f"f{i}") for i, check in enumerate(several)]
    golden(printed(console(80), named, next_command="nndiag explain ND501"))


def test_gradcheck_json(checks, golden):
    golden(gradcheck_json([checks["wrong"]]))


def test_json_is_the_record_without_its_errors(checks):
    """Whatever the record says is in the document: `asdict` is the oracle."""
    for name in NAMES:
        document = json.loads(gradcheck_json([checks[name]]))
        assert document["ok"] is checks[name].ok
        (check,) = document["checks"]
        expected = asdict(checks[name])
        assert set(check) == set(expected)
        for leaf, wanted in zip(check["leaves"], expected["leaves"], strict=True):
            del wanted["errors"]
            assert leaf == json.loads(json.dumps(wanted))


def test_one_wrong_function_is_wrong_in_all(checks):
    def ok(*names):
        return json.loads(gradcheck_json([checks[name] for name in names]))["ok"]

    assert ok("right", "undecided", "wrong") is False
    assert ok("right", "undecided") is None
    assert ok("right", "right") is True


def test_numbers_that_json_does_not_know_are_words(checks):
    text = gradcheck_json([checks["wrong"]])
    json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert json.loads(text)["checks"][0]["forward_reverse"]["forward"] == "NaN"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_line_is_wider_than_the_console(name, width, checks, console):
    text = printed(console(width), [checks[name]])
    assert max(map(len, text.splitlines())) <= width


def test_right_leaves_of_a_large_model_are_one_line(checks, console):
    text = printed(console(100), [checks["crowded"]])
    assert "97 leaves right (error at most 3.1e-9)." in text
    assert "'norm'" not in text
    for block in (3, 40, 77):
        assert f"params['block_{block}']" in text


def test_the_worst_leaf_comes_first(checks, example_checks, console):
    leaves = [
        example_checks.leaf(
            f"p{i}", verdict="wrong", norm=norm, largest_error=error, explanation="x"
        )
        for i, (norm, error) in enumerate([(1.0, 0.1), (1.0, 0.9), (100.0, 5.0)])
    ]
    report = arrange([replace(checks["wrong"], leaves=tuple(leaves))])
    (table,) = report.section("leaves").blocks
    assert [row[0].text for row in table.rows] == ["p1", "p0", "p2"]


def test_text_is_plain_and_has_the_verdict(checks):
    text = gradcheck_text([checks["wrong"]])
    assert "\x1b" not in text
    assert "params['hidden']['weight']" in text and "model.py:41" in text


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {}])
def test_colour_is_never_the_only_sign(environment, checks):
    file = io.StringIO()
    environment = {"TERM": "xterm-256color", **environment}
    screen = Console(file=file, width=80, force_terminal=True, _environ=environment)
    text = printed(screen, [checks["wrong"]])
    coloured = "\x1b[31mwrong" in text
    assert coloured == (len(environment) == 1 and environment["TERM"] != "dumb")
    assert "wrong" in text and "undecided" in text and "right" in text


def test_hostile_text_is_neither_markup_nor_a_control_sequence(checks, console):
    loud = "[bold red]x[/] [/nothing] \x1b[31m \x07 \ud800 <script>alert(1)</script>"
    check = checks["wrong"]
    leaf = replace(check.leaves[2], path=loud, explanation=loud)
    hostile = replace(
        check,
        function=loud,
        leaves=(leaf,),
        notes=(loud,),
        rule=replace(check.rule, name=loud, file=loud, explanation=loud),
        findings=(replace(check.findings[0], remedies=(loud,)),),
    )
    text = printed(console(200, terminal=True), [hostile])
    text.encode("utf-8")
    assert "\x1b[31m" not in text and "\x07" not in text
    assert "[bold red]x[/] [/nothing]" in text
    page = html(arrange([hostile]))
    page.encode("utf-8")
    assert "<script" not in page and "\x1b" not in page


def test_the_page_is_one_file_with_its_pictures(checks):
    page = html(arrange([checks["wrong"]]))
    assert page.count("<svg") == 2
    assert "src=" not in page.replace('src="data:', "")
    ids = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            ids.extend(value for name, value in attrs if name == "id")

    Reader().feed(page)
    assert len(ids) == len(set(ids))


def test_pages_of_several_functions_have_anchors_of_their_own(checks):
    report = arrange([checks["wrong"], checks["right"], checks["wrong"]])
    names = [section.name for section in report.sections]
    assert len(names) == len(set(names))
    pictures = [picture.name for picture in report.pictures()]
    assert len(pictures) == len(set(pictures)) == 4


def test_pictures_are_written_as_png(checks, tmp_path):
    paths = save_figures(arrange([checks["wrong"]]), tmp_path)
    assert [path.name for path in paths] == ["taylor.png", "errors-1.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 300), st.integers(1, 300)),
        elements=st.floats(0, 10) | st.just(math.nan),
        fill=st.just(math.nan),
    )
)
def test_thinning_loses_no_error(plane):
    """Largest value, and what was looked at, survive: oracle by plain loops."""
    small = thin(plane)
    assert max(small.shape) <= MOST_CELLS
    known = plane[~np.isnan(plane)]
    if not len(known):
        assert np.isnan(small).all()
        return
    assert np.nanmax(small) == known.max()
    rows, columns = small.shape
    for row, column in zip(*np.nonzero(~np.isnan(plane)), strict=True):
        # a block is the one whose start is the last before the element
        at = tuple(
            max(c for c in range(cells) if c * n // cells <= place)
            for place, cells, n in (
                (row, rows, plane.shape[0]),
                (column, columns, plane.shape[1]),
            )
        )
        assert small[at] >= plane[row, column]


@pytest.mark.parametrize(
    ("shape", "worst", "plane", "at"),
    [
        ((), (), (1, 1), (0, 0)),
        ((40,), (33,), (1, 40), (0, 33)),
        ((12, 8), (2, 5), (12, 8), (2, 5)),
        ((3, 3, 2, 4), (1, 2, 1, 3), (18, 4), (11, 3)),
    ],
)
def test_any_array_becomes_a_plane(shape, worst, plane, at, example_checks):
    errors = np.zeros(shape)
    errors[worst] = 0.5
    leaf = example_checks.leaf(
        "w", shape, verdict="wrong", worst_index=worst, errors=errors
    )
    picture = error_map(leaf, "errors")
    assert (picture.rows, picture.columns) == plane
    assert picture.worst == at
    assert picture.label.endswith("0.5")
    draw(picture)


def test_numbers_that_nearly_agree_are_told_apart(checks, example_checks):
    near = example_checks.Coordinate(
        index=(1,), given=0.4404381, expected=0.44043809, bound=1e-12
    )
    leaf = example_checks.leaf("w", verdict="wrong", wrong=(near,), worst_index=(1,))
    text = gradcheck_text([replace(checks["wrong"], leaves=(leaf,))])
    assert "0.4404381 " in text and "0.44043809 " in text
    assert "1 + 2.3e-8" in text


def test_a_leaf_that_nobody_looked_into_has_no_map(example_checks):
    leaf = example_checks.leaf("w", (4,), verdict="wrong")
    assert error_map(leaf, "errors") is None
    unseen = replace(leaf, errors=np.full(4, math.nan))
    assert error_map(unseen, "errors") is None


def test_colours_tell_unseen_from_right_from_wrong():
    unseen, right, little, wrong = tint(np.asarray([math.nan, 0.0, 1e-4, 1.0]))
    assert unseen[0] == unseen[1] == unseen[2]
    assert right[3] < little[3] < wrong[3]
    assert np.array_equal(tint(np.asarray(50.0)), wrong)


def test_the_taylor_picture_shows_what_is_above_zero(checks):
    taylor = replace(checks["right"].taylor, remainders=(1e-2, 1e-4, *[0.0] * 6))
    picture = remainders(taylor, "taylor")
    assert list(picture.steps) == [0.1, 0.01]
    draw(picture)
    linear = replace(taylor, remainders=(0.0,) * 8, order=math.nan)
    assert remainders(linear, "taylor") is None
    check = replace(checks["right"], taylor=linear)
    assert "linear function" in gradcheck_text([check])


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("right", ("right", "2 leaves")),
        ("wrong", ("wrong in 1 of 3 leaves", "params['hidden']['weight']")),
        ("undecided", ("not decided in 1 of 2 leaves",)),
        ("disagreeing", ("forward and reverse mode disagree",)),
    ],
)
def test_the_verdict_says_it_in_one_sentence(name, parts, checks):
    verdict = arrange([checks[name]]).verdict
    assert all(part in verdict.sentence for part in parts)
    assert verdict.sentence.endswith(".") and "\n" not in verdict.sentence
