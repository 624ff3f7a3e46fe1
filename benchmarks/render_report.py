"""How long a report of a long run takes, and how large its page is.

Makes a run of 10,000 steps and 12 layers in memory, every step recorded, and measures
building the report, the page and the pictures as files, in this process, best of
`--repeat`. Prints one line per part and fails if the page is above 3 MB or the whole
above 5 seconds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nndiag.records import Header, Run, Site
from nndiag.render import html, save_figures
from nndiag.report import build

LARGEST_PAGE = 3e6
LONGEST = 5.0


def synthetic_run(steps: int, layers: int) -> Run:
    """Every quantity a random walk: nothing in it can be drawn with few points."""
    random = np.random.default_rng(0)
    numbers = np.arange(steps)
    sites: list[Site] = []
    readings = {}
    samples = {}

    def walk(level: float) -> np.ndarray:
        return level * np.exp(np.cumsum(0.05 * random.standard_normal(steps)))

    for layer in range(layers):
        scope = f"encoder/block_{layer}"
        weight = Site(
            f"{scope}/weight",
            kind="parameter",
            scope=scope,
            order=3 * layer,
            shape=(512, 512),
        )
        bias = Site(
            f"{scope}/bias",
            kind="parameter",
            scope=scope,
            order=3 * layer + 1,
            shape=(512,),
        )
        activation = Site(
            f"{scope}/gelu",
            kind="activation",
            scope=scope,
            function="gelu",
            order=3 * layer + 2,
            shape=(128, 512),
        )
        sites += [weight, bias, activation]
        for parameter in (weight, bias):
            readings["parameter", "norm", parameter] = np.full(steps, 10.0)
            readings["update", "norm", parameter] = walk(1e-2)
            readings["gradient", "norm", parameter] = walk(1e-2)
        readings["value", "saturated", activation] = random.random(steps)
        readings["value", "largest", activation] = walk(5.0)
        readings["cotangent", "norm", activation] = walk(1e-3)
        for step in (0, steps - 1):
            samples[activation, step] = random.standard_normal(256)
    return Run(
        path=Path("long"),
        header=Header(target="synthetic", steps_planned=steps),
        status="finished",
        seconds=1000.0,
        sites=tuple(sites),
        steps=numbers,
        loss=2.3 * np.exp(-numbers / 3000) + 0.1 * random.standard_normal(steps),
        metrics={},
        evaluations={},
        recorded=numbers,
        finite=np.ones(steps, bool),
        readings=readings,
        samples=samples,
        notes=(),
    )


def timed(call: Callable[[], object], repeat: int) -> float:
    """Best wall time in seconds."""
    best = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    run = synthetic_run(arguments.steps, arguments.layers)
    report = build(run, ())
    size = len(html(report).encode())
    with tempfile.TemporaryDirectory() as folder:
        parts = {
            "report": timed(lambda: build(run, ()), arguments.repeat),
            "page": timed(lambda: html(report), arguments.repeat),
            "figures": timed(
                lambda: save_figures(report, Path(folder)), arguments.repeat
            ),
        }
    total = sum(parts.values())
    for name, seconds in parts.items():
        print(f"{name:<8} {seconds:6.2f} s")
    print(f"{'total':<8} {total:6.2f} s   (at most {LONGEST:g} s)")
    print(f"{'size':<8} {size / 1e6:6.2f} MB  (at most {LARGEST_PAGE / 1e6:g} MB)")
    return int(size > LARGEST_PAGE or total > LONGEST)


if __name__ == "__main__":
    sys.exit(main())
