"""What a training run looks like while it runs.

The view is fed with records, draws itself from within `LiveView.show` at most eight
times a second, less often if that would cost time, and has no thread of its own: what
the user's program prints in between appears above it, whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nndiag.records import (
    StepRecord,
)
from nndiag.render.rows import layer_table
from nndiag.render.snapshot import snapshot
from nndiag.render.sparkline import sparkline
from nndiag.render.theme import TERMINAL
from nndiag.report.blocks import Level
from nndiag.report.layers import LayerRow, Numbers, measure
from nndiag.report.rollup import worst
from nndiag.report.units import compact, duration, number, percent, printable
from nndiag.rules import thresholds

_REFRESH = 1 / 8
"""Shortest time between two drawings, in seconds."""

_SHARE = 0.04
"""Largest share of the time that drawing may take from the training."""

_LINES = 10
"""Plain lines over a run whose length is known."""

_PATIENCE = 10.0
"""Longest time without a plain line, in seconds."""


class LiveView:
    """Progress, loss and layers of a running training, as a context manager.

    On a terminal it is one picture that moves. On a pipe or a dumb terminal it is a
    plain line at sensible intervals, the first as soon as there is a record. On a quiet
    console it is nothing.

    Args:
        console: where to show it.
        title: of the run.
        total_steps: number of steps planned, 0 if unknown.
        every: one step in `every` is recorded.
        clock: seconds, for the rate of drawing.
    """

    def __init__(
        self,
        console: Console,
        *,
        title: str,
        total_steps: int = 0,
        every: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._title = printable(title)
        self._total = total_steps
        self._every = every
        self._clock = clock
        self._drawn = -np.inf
        self._pause = _REFRESH
        self._losses: list[float] = []
        self._first: StepRecord | None = None
        self._latest: StepRecord | None = None
        self._recorded: StepRecord | None = None
        self._printed: StepRecord | None = None
        moving = console.is_terminal and not console.is_dumb_terminal
        self._live = (
            Live(console=console, auto_refresh=False, get_renderable=self._picture)
            if moving and not console.quiet
            else None
        )

    def __enter__(self) -> Self:
        """Start to draw."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Draw the last state and leave it on the screen."""
        if self._live is not None:
            self._live.refresh()
            self._live.stop()
        elif self._latest is not None and self._latest is not self._printed:
            self._print(self._latest)

    def show(self, record: StepRecord) -> None:
        """Take in one step; draw if it is time to."""
        self._first = self._first or record
        self._latest = record
        if record.loss is not None:
            self._losses.append(record.loss)
        if record.readings is not None:
            self._recorded = record
        now = self._clock()
        if self._live is None:
            if self._due(record, now):
                self._print(record)
                self._drawn = now
        elif now - self._drawn >= self._pause:
            self._live.refresh()
            self._drawn = self._clock()
            self._pause = max(_REFRESH, (self._drawn - now) / _SHARE)

    def _due(self, record: StepRecord, now: float) -> bool:
        if self._printed is None:
            return True
        passed = record.step - self._printed.step
        tenth = self._total > 0 and passed >= self._total / _LINES
        return tenth or now - self._drawn >= _PATIENCE

    def _print(self, record: StepRecord) -> None:
        self._printed = record
        parts = [self._progress(record), *self._summary()]
        self._console.print(Text("  ".join(parts)), soft_wrap=True)

    def _progress(self, record: StepRecord) -> str:
        done = f"step {record.step + 1:,}"
        if self._total:
            done += f"/{self._total:,} ({percent((record.step + 1) / self._total)})"
        if record.loss is not None:
            done += f"  loss {number(record.loss)}"
        return f"{done}  {duration(record.seconds)}"

    def _summary(self) -> Iterator[str]:
        """The layers in a few words, for a plain line."""
        if self._recorded is None:
            return
        numbers = measure(snapshot(self._recorded))
        for name, field, write in (
            ("saturated", "saturation", percent),
            ("gradient", "gradient", number),
            ("update", "update", number),
        ):
            lasts = numbers.ends[field].last
            if field == "saturation":
                # half of a relu is zero in its normal state: no word of that
                lasts = lasts[numbers.flat_on_both_sides()]
            known = lasts[~np.isnan(lasts)]
            if len(known):
                ends = (write(float(end)) for end in (known.min(), known.max()))
                yield f"{name} {' to '.join(dict.fromkeys(ends))}"

    def _picture(self) -> RenderableType:
        if self._latest is None:
            return Text(f"{self._title}: waiting for the first step", style="dim")
        parts: list[RenderableType] = [self._bar(self._latest), self._loss()]
        if self._recorded is not None:
            rows, hidden = self._fitting(measure(snapshot(self._recorded)))
            marks = [mark(row) for row in rows]
            plain = self._console.options.ascii_only
            width = self._console.width
            parts += [Text(), layer_table(rows, marks, width=width, ascii_only=plain)]
            often = f", recorded every {self._every} steps" if self._every > 1 else ""
            more = f"; the worst of {len(rows) + hidden:,} layers" if hidden else ""
            note = f"numbers of step {self._recorded.step:,}{often}{more}"
            parts.append(Text(note, style="dim"))
        return Group(*parts)

    def _fitting(self, numbers: Numbers) -> tuple[Sequence[LayerRow], int]:
        """The rows for which the screen has room, the worst, and how many it hides."""
        every = range(len(numbers.layers))
        room = max(self._console.height - 7, 4)
        shown = every if len(every) <= room else worst(numbers, most=room)
        return [numbers.row(at) for at in shown], len(every) - len(shown)

    def _bar(self, latest: StepRecord) -> RenderableType:
        line = Table.grid(padding=(0, 2, 0, 0))
        cells: list[RenderableType] = [Text(self._title, style="bold")]
        done = latest.step + 1
        if self._total:
            width = max(min(self._console.width - 62, 32), 8)
            cells.append(ProgressBar(total=self._total, completed=done, width=width))
            cells.append(Text(f"{done:,}/{self._total:,}"))
        else:
            cells.append(Text(f"step {latest.step:,}"))
        rate = self._rate(latest)
        if rate > 0:
            cells.append(Text(f"{compact(rate)} steps/s", style="dim"))
            if self._total > done:
                left = (self._total - done) / rate
                cells.append(Text(f"{duration(left)} left", style="dim"))
        line.add_row(*cells)
        return line

    def _rate(self, latest: StepRecord) -> float:
        """Steps per second since the first record, which had compilation behind it."""
        assert self._first is not None
        seconds = latest.seconds - self._first.seconds
        return (latest.step - self._first.step) / seconds if seconds > 0 else 0.0

    def _loss(self) -> RenderableType:
        if not self._losses:
            return Text("no loss reported", style="dim")
        last = self._losses[-1]
        style = "" if np.isfinite(last) else TERMINAL["error"]
        text = Text.assemble("loss ", (number(last), f"bold {style}".strip()), "  ")
        if not self._console.options.ascii_only:
            text.append(sparkline(self._losses), style="cyan")
        text.append(f"  from {number(self._losses[0])}", style="dim")
        return text


def mark(row: LayerRow) -> Mapping[str, Level]:
    """A first verdict on the numbers of one step, against the rules' own thresholds.

    The findings after the run weigh all steps; this is one.
    """
    marks: dict[str, Level] = {}
    if not row.flat_at_zero and row.saturation.last >= thresholds.SATURATED_SHARE:
        marks["saturation"] = "warning"
    if row.update.last < thresholds.UPDATE_SMALL:
        marks["update"] = "warning"
    if row.update.last > thresholds.UPDATE_LARGE:
        marks["update"] = "warning"
    if row.headroom.last < thresholds.HEADROOM:
        marks["headroom"] = "error"
    if not np.isfinite(row.gradient.last) and not np.isnan(row.gradient.last):
        marks["gradient"] = "error"
    return marks
