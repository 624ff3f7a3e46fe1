import io

import numpy as np
import pytest
from rich.console import Console

from nndiag.render import LiveView, html
from nndiag.render.console import show
from nndiag.render.figures import draw, inline
from nndiag.report import build


@pytest.fixture(scope="module")
def run(blocks):
    last = {
        ("gradient", "blocks[57]/mlp"): 3e-12,
        ("saturated", "blocks[8]/mlp"): 0.97,
        ("update", "blocks[9]/attn"): 8.6e-9,
    }
    return blocks.blocks_run(96, last=last)


@pytest.fixture(scope="module")
def report(blocks, run):
    keys = ["blocks[8]/mlp/tanh", "blocks[9]/mlp/tanh"]
    return build(run, (blocks.finding(run, keys, "saturation"),))


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_the_table_fits_and_no_number_in_it_is_cut(report, console, width):
    screen = console(width)
    show(screen, report)
    lines = screen.file.getvalue().splitlines()
    (start,) = (at for at, line in enumerate(lines) if line.startswith("layer "))
    table = lines[start : start + 1 + len(report.layers)]
    assert all(len(line) <= width for line in table)
    worst = next(line for line in table if line.startswith("blocks[57]/mlp"))
    assert "3e-12" in worst
    assert "97 % !" in next(line for line in table if line.startswith("blocks[8]/mlp"))
    shared = [line for line in table if "×" in line and "–" in line.split("  ")[0]]
    assert len(shared) == 2
    for line in shared:
        name, _, numbers = line.partition("  ")
        assert name.split()[0].isdigit()
        assert name.endswith(("/attn", "/mlp"))
        assert "…" not in numbers and numbers.split()


def test_the_note_below_the_table_says_where_the_others_are(report, console):
    screen = console(100)
    show(screen, report)
    text = " ".join(screen.file.getvalue().split())
    assert "194 layers: first the worst ones, then the others by scope" in text
    assert "nndiag export RUN --to csv" in text


def test_few_layers_have_no_note(blocks, console):
    screen = console(100)
    show(screen, build(blocks.blocks_run(11), ()))
    assert "export" not in screen.file.getvalue()


def test_a_terminal_of_ascii_shows_ranges_in_ascii(report):
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii", errors="replace")
    show(Console(file=file, width=100, _environ={}), report)
    file.flush()
    rows = [r for r in raw.getvalue().decode().splitlines() if " x blocks[" in r]
    assert len(rows) == 2
    assert not any("?" in row for row in rows)


def test_a_page_of_a_thousand_layers_is_as_long_as_one_of_a_hundred(blocks):
    pages = [html(build(blocks.blocks_run(n), ())) for n in (50, 500)]
    assert len(pages[1]) < 1.2 * len(pages[0])
    assert len(pages[1]) < 500_000


def test_a_picture_of_a_thousand_layers_has_few_parts(blocks):
    for picture in build(blocks.blocks_run(500), ()).pictures():
        figure = draw(picture)
        assert len(figure.findobj()) < 1_500, picture.name
        assert len(inline(picture)) < 150_000, picture.name


def test_an_area_is_drawn_where_the_lines_are(blocks):
    last = {("gradient", f"blocks[{i}]/mlp"): 10.0**-i for i in range(30)}
    run = blocks.blocks_run(30, last=last)
    (picture,) = (p for p in build(run, ()).pictures() if p.name == "gradient")
    axes = draw(picture).axes[0]
    low, high = axes.get_ylim()
    assert low < 1e-29 and high > 1.0
    assert len(axes.collections) == 2


def test_one_recorded_step_of_many_layers_can_be_drawn(blocks):
    run = blocks.blocks_run(96, steps=10)
    assert len(run.recorded) == 1
    assert "blocks[0]" in html(build(run, ()))


def test_the_live_view_shows_the_worst_layers(example, run):
    records = [r for r in example.step_records(run) if r.readings is not None]
    file = io.StringIO()
    screen = Console(
        file=file, width=100, height=30, force_terminal=True, color_system=None,
        _environ={},
    )  # fmt: skip
    with LiveView(screen, title="t") as view:
        view.show(records[-1])
    text = file.getvalue()
    for name in ("blocks[57]/mlp", "blocks[8]/mlp", "blocks[9]/attn"):
        assert name in text
    assert "the worst of 194 layers" in text
    assert text.count("blocks[") < 60


def test_plain_lines_of_many_layers_have_the_range_of_all(example, run):
    records = [r for r in example.step_records(run) if r.readings is not None]
    file = io.StringIO()
    with LiveView(Console(file=file, width=100, _environ={}), title="t") as view:
        view.show(records[-1])
    assert "saturated 10 % to 97 %" in file.getvalue()
    assert "gradient 3e-12 to 1e-3" in file.getvalue()
    assert np.isfinite(records[-1].loss)
