"""What the card of an autopsy says, against the record it was made of."""

from __future__ import annotations

import dataclasses

import pytest

from nndiag.report import build
from nndiag.report.autopsy import place, tell
from nndiag.report.code import location, summary


@pytest.fixture
def softmax(examples):
    return examples.softmax()


def facts(autopsy):
    return dict(tell(autopsy).facts)


def test_the_way_into_control_flow_is_told_in_words(softmax):
    path = ("scan[1234]", "cond.branch1", "shard[2]", "something else")
    told = facts(dataclasses.replace(softmax, path=path))["Path"]
    assert told == (
        "something else, shard 2, branch 1 of the cond, iteration 1,234 of the scan "
        "(scan[1234] / cond.branch1 / shard[2] / something else)"
    )


@pytest.mark.parametrize(
    ("elements", "count", "shape", "told"),
    [
        (((),), 1, (), "the scalar"),
        (((2,),), 1, (4,), "[2] (1 of 4)"),
        (((0, 1), (1, 0)), 2, (2, 3), "[0, 1], [1, 0] (2 of 2×3)"),
        (
            tuple((n,) for n in range(16)),
            1_000,
            (5_000,),
            "[0], [1], [2], [3] and 996 more (1,000 of 5000)",
        ),
        ((), 7, (9,), "7 of 9"),
    ],
)
def test_elements_are_named_and_counted(softmax, elements, count, shape, told):
    result = dataclasses.replace(softmax.result, shape=shape)
    changed = dataclasses.replace(
        softmax, elements=elements, count=count, result=result
    )
    assert facts(changed)["Elements"] == told


def test_the_caret_needs_column_and_indent(softmax):
    def carets(**changes):
        origin = dataclasses.replace(softmax.origin, **changes)
        (frame,) = tell(dataclasses.replace(softmax, origin=origin)).frames
        return frame.fingers[0].caret

    assert carets() == 4
    assert carets(indent=None) is None
    assert carets(column=0) is None
    # a column before or behind the line points at nothing
    assert carets(column=2) is None
    assert carets(column=500) is None


def test_the_rewrite_may_be_of_the_line_of_the_origin(examples):
    trap = examples.backward()
    card = tell(trap)
    assert [frame.line for frame in card.frames] == [11, 12]
    assert (card.rewrite.line, card.rewrite.source) == (11, "r = jnp.sqrt(x)")
    assert card.rewrite.instead == ("r = jnp.sqrt(jnp.where(x > 0, x, 1.0))",)
    assert (summary(trap).line, summary(trap).instead) == (11, card.rewrite.instead)


def test_the_rewrite_may_be_of_a_third_line(examples):
    lines = "# line 99 of train.py\ny = 1.0"
    card = tell(dataclasses.replace(examples.backward(), rewrite=lines))
    assert (card.rewrite.line, card.rewrite.source) == (99, "")
    assert card.rewrite.instead == ("y = 1.0",)


def test_code_to_write_is_printable(softmax):
    card = tell(dataclasses.replace(softmax, rewrite="x = '\x1b[31m'"))
    assert card.rewrite.instead == ("x = '�[31m'",)


def test_without_source_there_is_no_frame(examples):
    hidden = examples.hidden()
    assert tell(hidden).frames == () and summary(hidden) is None
    assert dict(tell(hidden).facts)["Line"] == "lib/norm.py:5"
    mended = dataclasses.replace(hidden, rewrite="y = jnp.square(jnp.float32(x))")
    assert summary(mended).source == ""
    assert summary(mended).instead == ("y = jnp.square(jnp.float32(x))",)


def test_words_are_advice_and_code_is_a_rewrite(softmax, examples):
    assert tell(softmax).rewrite.instead == ("p = jax.nn.softmax(z, axis=1)",)
    assert tell(softmax).advice == ""
    assert tell(examples.argument()).rewrite is None
    assert tell(examples.argument()).advice.startswith("Look at what made this value")


def test_the_chain_is_that_of_the_record_or_else_its_ends(softmax, examples):
    assert [node.name for node in tell(softmax).chain.nodes] == [
        "exp",
        "reduce_sum",
        "div",
        "output ['loss']",
    ]
    bare = dataclasses.replace(softmax, chain=(), reaches_output=False)
    nodes = tell(bare).chain.nodes
    assert [(node.state, node.name) for node in nodes] == [
        ("Inf", "exp"),
        ("NaN", "div"),
        ("", "hidden from the output"),
    ]
    assert tell(examples.argument()).chain is None


def test_a_long_chain_keeps_both_ends(examples):
    flow = tell(examples.crowded()).chain
    places = [node.place for node in flow.nodes]
    assert places[:4] == [f"a.py:{n}" for n in (1, 2, 3, 4)]
    assert flow.nodes[4].name == "… 22 more"
    assert places[5:9] == [f"a.py:{n}" for n in (27, 28, 29, 30)]


def test_a_long_line_is_cut_around_the_place(examples):
    (frame,) = tell(examples.crowded()).frames
    assert len(frame.source) == 300
    assert frame.source[0] == frame.source[-1] == "…"
    caret = frame.fingers[0].caret
    assert frame.source[caret - 2 : caret + 3] == "+ b +"[0:5]
    assert frame.source[:caret].rstrip(" +").endswith("a")


def test_operands_beyond_the_table_are_counted(examples):
    table = tell(examples.crowded()).operands
    assert [row[0].text for row in table.rows[-2:]] == ["operand 8", "result"]
    assert table.note == "12 more operands, 6 of them with NaN or Inf."


def test_where_it_stands_in_words(softmax, examples):
    assert location(softmax) == "train.py:38:5"
    assert location(examples.hidden()) == "lib/norm.py:5"
    assert location(examples.argument()) == ""
    assert place(softmax) == (
        "div in loss, branch 1 of the cond, iteration 7 of the scan"
    )
    assert place(examples.backward()) == "mul, in the backward pass"
    assert place(examples.argument()) == "params['w']"


def test_a_run_with_autopsies_has_a_section_with_each(example, softmax, examples):
    run = example.replace(
        example.healthy_run(), autopsies={7: softmax, 90: examples.hidden()}
    )
    section = build(run, ()).section("autopsy")
    assert [(card.when, card.level) for card in section.blocks] == [
        ("step 7", "error"),
        ("step 90", "warning"),
    ]
    assert build(example.healthy_run(), ()).section("autopsy") is None


def test_a_finding_says_the_line_though_another_leads_it(example, softmax):
    (cause, *_) = example.findings(example.sick_run(steps=20))
    located = example.replace(
        cause.symptoms[0], sites=(), autopsy=softmax, remedies=("Write it.",)
    )
    plain = cause.symptoms[1]
    led = example.replace(cause, symptoms=(located, plain))
    (card,) = build(example.healthy_run(), (led,)).cards()
    first, second = card.symptoms
    assert first.remedies == ("Write it.",) and second.remedies == ()
    assert first.lines == ("train.py:38:9",)
    assert first.where == "exp in loss, branch 1 of the cond, iteration 7 of the scan"
    assert first.frame.instead == ("p = jax.nn.softmax(z, axis=1)",)
    assert [finger.label for finger in first.frame.fingers] == [
        "exp made Inf of 103.279",
        "div made NaN of Inf and Inf",
    ]
    assert second.frame is None
