"""What watching costs in loops that people write, on five training programs.

    python benchmarks/watching.py [--rounds 21] [--programs MLP CNN] [--json FILE]

Each round runs a block of steps in each loop, in random order, in one process, from the
same first state; the figures are the median and the quartiles of the ratios of a
round's times to those of the bare loop in the same round. The bare loop runs twice a
round: what it differs from itself is noise. All that is stored is stored on disk.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from programs import BY_HAND, PROGRAMS, Program

import nndiag
from nndiag.probes import Level, level_of
from nndiag.session.course import Course
from nndiag.session.describing import describe
from nndiag.session.observing import Observer
from nndiag.session.options import PARTS

SECONDS = 0.3
"""How long a block of the bare loop should take."""
STRIDES = {10: 1.03, 1: 1.20}
"""Every how many steps is recorded, and how many times the bare time it may take."""


class Loops:
    """The loops over one program; each runs a block of `steps` steps.

    Args:
        program: what is trained.
        folder: where runs are stored.
        stack: closes what is left open.
    """

    def __init__(
        self, program: Program, folder: Path, stack: contextlib.ExitStack
    ) -> None:
        self.program, self.folder, self.stack = program, folder, stack
        self.bare_step = program.jit(program.step)
        self.steps, self.runs = 10, itertools.count()
        self.observers: dict[int, Observer] = {}

    def run(self, step: Callable[[int, Any, Any], Any]) -> None:
        """A block of steps; the losses are read at its end."""
        state, batches = self.program.state, self.program.batches
        history = []
        for number in range(self.steps):
            state, metrics = step(number, state, batches[number % len(batches)])
            history.append(metrics)
        jax.device_get(history)
        jax.block_until_ready(state)

    def bare(self) -> Callable[[], None]:
        """The program's own loop."""
        return lambda: self.run(lambda _, state, batch: self.bare_step(state, batch))

    def watched(self, every: int, level: Level) -> Callable[[], None]:
        """With `nndiag.watch` every so many steps, and all recorded."""
        watched = self.program.jit(nndiag.watch(self.program.step, level=level))
        path = self._path()
        run = self.stack.enter_context(nndiag.record(path, every=every))
        counter = itertools.count()

        def step(number, state, batch):
            readings = None
            if number % every == 0:
                (state, metrics), readings = watched(state, batch)
            else:
                state, metrics = self.bare_step(state, batch)
            run.log(next(counter), readings, metrics)
            return state, metrics

        return lambda: self.run(step)

    def scripts(self, level: Level) -> dict[str, Callable[[], None]]:
        """As under `nndiag run script.py`: the loop is the program's own."""

        def course(name: str) -> Course:
            return Course(self._path(), lambda: describe(name=name))

        # All before the first one stands in the place of `jax.jit`.
        observers = {every: Observer(level, every, course) for every in STRIDES}
        return {
            f"script, every {every}": self._script(every, observer)
            for every, observer in observers.items()
        }

    def _script(self, every: int, observer: Observer) -> Callable[[], None]:
        def step(state, batch):
            return self.program.step(state, batch)

        step.__qualname__ = f"step_every_{every}"  # Equinox compiles once for a name
        self.stack.enter_context(observer.observing())
        compiled = self.program.jit(step)

        self.stack.callback(observer.close, "finished")
        self.observers[every] = observer
        return lambda: self.run(lambda _, state, batch: compiled(state, batch))

    def check(self) -> None:
        """That script mode has recorded what it should."""
        for every, observer in self.observers.items():
            (function,) = observer.trained
            course = function.course
            assert course is not None and not course.lost, observer.seen
            assert course.recorded == -(-course.steps // every), observer.seen

    def by_hand(self, every: int, program: Program) -> Callable[[], None]:
        """A program that measures norms itself, its metrics read at once."""
        measured = program.jit(program.step)

        def step(number, state, batch):
            if number % every:
                return self.bare_step(state, batch)
            state, metrics = measured(state, batch)
            return state, jax.device_get(metrics)

        return lambda: self.run(step)

    def _path(self) -> Path:
        return self.folder / str(next(self.runs))


def variants(name: str, loops: Loops, parts: bool) -> dict[str, Callable[[], None]]:
    standard = level_of("standard")
    bare = loops.bare()
    made = {"bare": bare, "bare again": bare}
    for every in STRIDES:
        made[f"watch, every {every}"] = loops.watched(every, standard)
        if name in BY_HAND:
            hand = loops.by_hand(every, BY_HAND[name]())
            made[f"norms by hand, every {every}"] = hand
    if parts:
        made["light, every 1"] = loops.watched(1, level_of("light"))
        for part in PARTS:
            made[f"{part}, every 1"] = loops.watched(1, Level(**{part: True}))
    return made | loops.scripts(standard)


def measure(name: str, rounds: int, parts: bool) -> dict[str, Any]:
    """Ratios to the bare loop by variant, as lower quartile, median, upper quartile."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        loops = Loops(PROGRAMS[name](), Path(folder), stack)
        made = variants(name, loops, parts)
        for run in made.values():
            run()
        one = min(spent(made["bare"])[0] for _ in range(3)) / loops.steps
        loops.steps = 10 * max(1, round(SECONDS / one / 10))
        spans: dict[str, list[tuple[float, float]]] = {name: [] for name in made}
        load = []
        for _ in range(rounds):
            load.append(os.getloadavg()[0])
            for name in random.sample(list(made), len(made)):
                spans[name].append(spent(made[name]))
        loops.check()
    base = spans.pop("bare")
    return {
        "milliseconds": 1e3 * statistics.median(wall for wall, _ in base) / loops.steps,
        "steps": loops.steps,
        "rounds": rounds,
        "load": statistics.median(load),
        "wall": {name: ratios(own, base, 0) for name, own in spans.items()},
        "processor": {name: ratios(own, base, 1) for name, own in spans.items()},
    }


def ratios(spans: Any, base: Any, which: int) -> list[float]:
    """Quartiles."""
    pairs = zip(spans, base, strict=True)
    return statistics.quantiles([one[which] / other[which] for one, other in pairs])


def spent(run: Callable[[], None]) -> tuple[float, float]:
    """Seconds, and seconds of processor time over all threads."""
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--programs", nargs="+", default=list(PROGRAMS))
    parser.add_argument("--parts", action="store_true", help="each part of a level")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, Any] = {"jax": jax.__version__, "programs": {}}
    for name in options.programs:
        one = found["programs"][name] = measure(name, options.rounds, options.parts)
        print(f"{name}: {one['milliseconds']:.2f} ms a step, {one['steps']} a block")
        for variant, (low, middle, high) in one["wall"].items():
            used = one["processor"][variant][1]
            told = f"{middle:.3f}  [{low:.3f}, {high:.3f}]  processor {used:.3f}"
            print(f"  {told}  {variant}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), "utf-8")


if __name__ == "__main__":
    main()
