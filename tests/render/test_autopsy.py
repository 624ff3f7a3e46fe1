"""An autopsy on a terminal and as JSON."""

import io
import json

import pytest
from rich.console import Console

from nndiag.render import autopsy_json, print_autopsy, show
from nndiag.report import build

NAMES = ["softmax", "backward", "argument", "hidden", "crowded"]


def printed(console, autopsy, **how):
    print_autopsy(console, autopsy, **how)
    return console.file.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_card(name, autopsies, console, golden):
    golden(printed(console(80), autopsies[name], step=137))


def test_json(autopsies, golden):
    golden(json.dumps(autopsy_json(autopsies["softmax"]), indent=1, allow_nan=False))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_line_is_wider_than_the_console(name, width, autopsies, console):
    text = printed(console(width), autopsies[name])
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("name", ["softmax", "crowded"])
def test_the_caret_stands_below_the_place(name, width, autopsies, console):
    """Whatever is cut off: the caret's column holds the character of the source."""
    autopsy = autopsies[name]
    lines = printed(console(width), autopsy).splitlines()
    row = next(i for i, line in enumerate(lines) if " 38 │" in line)
    below = next(line for line in lines[row:] if "^" in line)
    caret = below.index("^")
    first = autopsy.origin
    place = first.column - 1 - first.indent
    around = autopsy.source[place : place + 6]
    assert lines[row][caret:].startswith(around)


def test_the_line_to_write_is_never_cut(autopsies, console):
    lines = printed(console(60), autopsies["crowded"]).splitlines()
    new = "".join(line.split("│")[2].strip() for line in lines if line[3:4] == "+")
    assert new.replace(" ", "") == autopsies["crowded"].rewrite.replace(" ", "")


@pytest.mark.parametrize("name", NAMES)
def test_hostile_text_is_neither_markup_nor_a_control_sequence(
    name, autopsies, example, console
):
    loud = "[bold red]x[/] [/nothing] \x1b[31m \x07 \ud800"
    autopsy = example.replace(
        autopsies[name],
        primitive=loud,
        file=loud,
        source=loud,
        scope=loud,
        path=(loud,),
        output=loud,
        argument=loud,
        cause=loud,
        rewrite=loud,
        notes=(loud,),
        operands=(example.replace(autopsies[name].result, dtype=loud),),
    )
    text = printed(console(200, terminal=True), autopsy)
    text.encode("utf-8")
    assert "\x1b[31m" not in text and "\x07" not in text
    assert "[bold red]x[/] [/nothing]" in text


@pytest.mark.parametrize(
    "environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"]
)
def test_no_colour_where_none_is_wanted(environment, autopsies):
    file = io.StringIO()
    environment = {"TERM": "xterm-256color", **environment}
    screen = Console(file=file, width=80, force_terminal=True, _environ=environment)
    text = printed(screen, autopsies["softmax"])
    assert not any(f"\x1b[{code}m" in text for code in ("31", "32", "33", "1;31"))
    # what colour says is said by a sign as well
    assert "- 38 │" in text and "+    │" in text


def test_colour_tells_old_from_new(autopsies):
    file = io.StringIO()
    environment = {"TERM": "xterm-256color"}
    screen = Console(file=file, width=80, force_terminal=True, _environ=environment)
    text = printed(screen, autopsies["softmax"])
    assert "\x1b[31mp = jnp.exp" in text and "\x1b[32mp = jax.nn" in text


def test_a_terminal_of_ascii_gets_a_frame_of_ascii(autopsies):
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii", errors="replace")
    print_autopsy(Console(file=file, width=60, _environ={}), autopsies["crowded"])
    file.flush()
    row = next(r for r in raw.getvalue().decode().splitlines() if " 38 |" in r)
    assert "..." in row and "?" not in row


def test_findings_show_the_line_and_what_to_write(autopsies, example, console):
    run = example.healthy_run()
    (finding, *_) = example.findings(example.sick_run(steps=20))
    told = example.replace(finding, symptoms=(), autopsy=autopsies["softmax"])
    screen = console(80)
    show(screen, build(run, (told,)))
    text = screen.file.getvalue()
    assert "- 38 │ p = jnp.exp(z) / jnp.exp(z).sum" in text
    assert "^ exp made Inf of 103.279" in text
    assert "+    │ p = jax.nn.softmax(z, axis=1)" in text
