import re
from itertools import count

import numpy as np
import pytest

from nndiag.render import LiveView
from nndiag.render.live import mark
from nndiag.render.snapshot import snapshot
from nndiag.report.layers import layer_rows


def clock_of(seconds_per_call):
    ticks = count()
    return lambda: next(ticks) * seconds_per_call


def frames(text):
    """What a terminal would have shown, frame by frame."""
    plain = re.sub(r"\x1b\[\?25[lh]", "", text)
    return [f for f in re.split(r"(?:\r?\x1b\[2K(?:\x1b\[1A)?)+", plain) if f.strip()]


@pytest.fixture(scope="module")
def records(example):
    return example.step_records(example.sick_run(steps=200))


def test_plain_lines(records, console, golden):
    screen = console(80)
    with LiveView(
        screen, title="t", total_steps=200, every=10, clock=clock_of(0.001)
    ) as view:
        for record in records:
            view.show(record)
    golden(screen.file.getvalue())


def test_first_line_comes_with_the_first_record(records, console):
    screen = console(80)
    with LiveView(screen, title="t", total_steps=200) as view:
        view.show(records[0])
        assert screen.file.getvalue().startswith("step 1/200")


def test_lines_go_on_where_the_length_is_unknown(records, console):
    screen = console(80)
    with LiveView(screen, title="t", clock=clock_of(1.0)) as view:
        for record in records:
            view.show(record)
    assert len(screen.file.getvalue().splitlines()) == 21  # each 10 s, and the last


def test_last_frame(records, console, golden):
    screen = console(80, terminal=True)
    with LiveView(
        screen,
        title="mnist_model:target",
        total_steps=200,
        every=10,
        clock=clock_of(0.01),
    ) as view:
        for record in records[:120]:
            view.show(record)
    golden(frames(screen.file.getvalue())[-1])


def test_refreshes_at_most_eight_times_a_second(records, console):
    screen = console(80, terminal=True)
    view = LiveView(screen, title="t", total_steps=200, clock=clock_of(0.0005))
    with view:
        for record in records:
            view.show(record)
    # 200 records within 0.2 s: two drawings on time, one at the start, one at the end
    assert 2 <= len(frames(screen.file.getvalue())) <= 5


def test_costly_drawing_is_done_less_often(records, console):
    def drawn(cost):
        screen = console(80, terminal=True)
        now = [0.0]

        def clock():
            now[0] += cost
            return now[0]

        with LiveView(screen, title="t", clock=clock) as view:
            for record in records:
                now[0] += 0.05
                view.show(record)
        return len(frames(screen.file.getvalue()))

    assert drawn(cost=0.05) < drawn(cost=0.001) / 3


def test_quiet_console_shows_nothing(records, console):
    for terminal in (False, True):
        screen = console(80, terminal=terminal, quiet=True)
        with LiveView(screen, title="t", total_steps=200) as view:
            for record in records:
                view.show(record)
        assert screen.file.getvalue() == ""


def test_steps_without_readings_and_without_loss(example, console):
    record = example.StepRecord(step=0, seconds=0.1, loss=None, metrics={})
    for terminal in (False, True):
        screen = console(80, terminal=terminal)
        with LiveView(screen, title="t") as view:
            view.show(record)
        assert "step" in screen.file.getvalue()


def test_deep_networks_fit_the_screen(example, console):
    records = example.step_records(example.sick_run(steps=1, every=1, depth=60))
    screen = console(80, terminal=True)
    with LiveView(screen, title="t") as view:
        view.show(records[0])
    last = frames(screen.file.getvalue())[-1]
    assert len(last.splitlines()) <= 30
    assert "hidden_1 " in last and "output" in last and "the worst of 61 layers" in last


def test_broken_loss_is_seen(example, console):
    screen = console(80, terminal=True)
    with LiveView(screen, title="t", clock=clock_of(1.0)) as view:
        for step, loss in enumerate([2.0, 1.0, float("nan")]):
            view.show(example.StepRecord(step, step + 1.0, loss, {}))
    assert "loss NaN" in frames(screen.file.getvalue())[-1]


def test_a_step_has_the_numbers_that_the_report_of_its_run_has(example, records):
    run = example.sick_run(steps=200)
    live = layer_rows(snapshot(records[-10]))
    for row, stored in zip(live, layer_rows(run), strict=True):
        for field in ("saturation", "slope", "gradient", "update", "headroom"):
            got, expected = getattr(row, field).last, getattr(stored, field).last
            np.testing.assert_equal(got, expected)


def test_marks_of_sick_and_healthy_layers(example):
    sick = layer_rows(example.sick_run())[0]
    healthy = layer_rows(example.healthy_run())[0]
    assert mark(sick) == {"saturation": "warning", "update": "warning"}
    assert mark(healthy) == {}
