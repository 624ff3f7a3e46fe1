import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from nndiag.render import show
from nndiag.render.console import verdict
from nndiag.report import build


def test_sick_run(sick, console, golden):
    screen = console(80)
    show(screen, sick, page=Path("run-1/report.html"), next_command="nndiag list")
    golden(screen.file.getvalue())


def test_healthy_run(healthy, console, golden):
    screen = console(80)
    show(screen, healthy)
    golden(screen.file.getvalue())


def test_empty_run(empty, console, golden):
    screen = console(80)
    show(screen, empty)
    golden(screen.file.getvalue())


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_line_is_wider_than_the_console(sick, console, width):
    screen = console(width)
    show(screen, sick)
    assert max(map(len, screen.file.getvalue().splitlines())) <= width


def test_names_are_not_markup(example, console):
    run = example.sick_run(depth=2)
    (finding, *_) = example.findings(run)
    loud = example.replace(finding, title="[bold red]x[/] [/nothing]", symptoms=())
    screen = console(80)
    show(screen, build(run, (loud,)))
    assert "[bold red]x[/] [/nothing]" in screen.file.getvalue()


@pytest.mark.parametrize(
    "environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"]
)
def test_no_colour_where_none_is_wanted(sick, environment):
    file = io.StringIO()
    environment = {"TERM": "xterm-256color", **environment}
    screen = Console(file=file, width=80, force_terminal=True, _environ=environment)
    show(screen, sick)
    # bold is no colour: NO_COLOR leaves it
    assert "\x1b[31m" not in file.getvalue() and "\x1b[1;31m" not in file.getvalue()
    assert "vanish" in file.getvalue()


def test_colour_is_there_where_it_is_wanted(sick):
    file = io.StringIO()
    screen = Console(
        file=file, width=80, force_terminal=True, _environ={"TERM": "xterm-256color"}
    )
    show(screen, sick)
    assert "\x1b[1;31m" in file.getvalue()


def test_terminal_needs_neither_matplotlib_nor_jinja_nor_jax():
    code = (
        "import nndiag.render.console, nndiag.render.live, nndiag.render.json, sys;"
        "print([m for m in ('matplotlib', 'jinja2', 'jax') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True
    )
    assert found.stdout.decode().strip() == "[]"


def test_terminal_that_knows_no_blocks_gets_bars_of_ascii(sick):
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii", errors="replace")
    show(Console(file=file, width=80, _environ={}), sick)
    file.flush()
    row = next(
        r for r in raw.getvalue().decode().splitlines() if r.startswith("hidden_7")
    )
    assert row.split()[1:3] == ["#######", "82"]
    assert "?" not in row


def test_the_verdict_has_no_trailing_blanks(sick, healthy, console):
    for report in (sick, healthy):
        screen = console(80)
        screen.print(verdict(report, 80))
        lines = screen.file.getvalue().splitlines()
        assert lines == [line.rstrip() for line in lines]


def test_a_run_that_ended_in_nan_says_so_in_its_cells(example, console):
    run = example.sick_run(depth=3)
    late = run.recorded >= run.recorded[-3]
    spoiled = {key: np.where(late, np.nan, s) for key, s in run.readings.items()}
    screen = console(80)
    show(screen, build(example.replace(run, finite=~late, readings=spoiled), ()))
    row = next(r for r in screen.file.getvalue().splitlines() if "hidden_2" in r)
    assert row.split() == ["hidden_2", *["NaN"] * 4]


def test_a_relu_shows_its_share_of_zeros_without_a_bar(healthy, console):
    screen = console(80)
    show(screen, healthy)
    row = next(r for r in screen.file.getvalue().splitlines() if "hidden_1" in r)
    assert row.split()[1] == "zero"
