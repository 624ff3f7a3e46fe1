"""What watching costs before the first step, and in memory.

    python benchmarks/compiling.py [--rounds 5] [--programs MLP CNN] [--json FILE]

Memory is what XLA says of the compiled step: arguments, outputs and temporaries, less
what outputs share with arguments. Tracing, lowering and compiling of the transformer
are timed with fresh functions and empty caches, bare and watched in turn; then tracing
alone of transformers of 8 to 96 layers in a Python loop, with the exponent b of a fit
of a·layers^b to the seconds (1 is linear). Seconds are of processor time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from programs import PROGRAMS, Program, transformer

import nndiag

DEPTHS = (8, 16, 32, 64, 96)
STAGES = ("trace", "lower", "compile", "all")
AT_MOST_BYTES, AT_MOST_SECONDS, AT_MOST_EXPONENT = 1.10, 1.5, 1.1


def memory(program: Program) -> dict[str, float]:
    """Bytes of the compiled step, bare and watched, and their ratio."""
    sizes = {}
    for name, step in (("bare", program.step), ("watched", nndiag.watch(program.step))):
        lowered = program.jit(step).lower(program.state, program.batches[0])
        compiled = lowered.compile()
        # Equinox has its own around JAX's.
        told = getattr(compiled, "compiled", compiled).memory_analysis()
        sizes[name] = (
            told.argument_size_in_bytes
            + told.output_size_in_bytes
            + told.temp_size_in_bytes
            - told.alias_size_in_bytes
        )
    return {**sizes, "ratio": sizes["watched"] / sizes["bare"]}


def stages(program: Program, step: Callable[..., Any], only_trace: bool) -> list[float]:
    """Processor seconds of tracing, lowering and compiling, and of all."""
    jax.clear_caches()
    jitted = jax.jit(step)
    marks = [time.process_time()]
    traced = jitted.trace(program.state, program.batches[0])
    marks.append(time.process_time())
    if only_trace:
        return [marks[1] - marks[0]]
    lowered = traced.lower()
    marks.append(time.process_time())
    lowered.compile()
    marks.append(time.process_time())
    return [*np.diff(marks).tolist(), marks[-1] - marks[0]]


def both(
    make: Callable[[], Program], rounds: int, only_trace: bool = False
) -> list[dict[str, float]]:
    """For each stage the median seconds, bare and watched, and the median ratio."""
    measured = []
    for number in range(rounds):
        one = {}
        for name in ("bare", "watched") if number % 2 else ("watched", "bare"):
            program = make()  # a step that JAX has never seen
            step = nndiag.watch(program.step) if name == "watched" else program.step
            one[name] = stages(program, step, only_trace)
        measured.append(one)
    found = []
    for stage in range(len(measured[0]["bare"])):
        pairs = [(one["bare"][stage], one["watched"][stage]) for one in measured]
        bare, watched = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratio = statistics.median(watched / bare for bare, watched in pairs)
        found.append({"bare": bare, "watched": watched, "ratio": ratio})
    return found


def exponent(seconds: list[float]) -> float:
    """Of the seconds in the number of layers."""
    return float(np.polyfit(np.log(DEPTHS), np.log(seconds), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--programs", nargs="+", default=list(PROGRAMS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, Any] = {"memory": {}, "depths": {}}
    print(f"bytes, watched over bare (at most {AT_MOST_BYTES})")
    for name in options.programs:
        one = found["memory"][name] = memory(PROGRAMS[name]())
        print(
            f"  {one['ratio']:.3f}  {name}, {one['bare'] / 2**20:.1f} MiB", flush=True
        )
    print(f"8-layer scanned transformer (all: at most {AT_MOST_SECONDS})")
    both(transformer, 1)
    found["stages"] = dict(zip(STAGES, both(transformer, options.rounds), strict=True))
    for name, one in found["stages"].items():
        print(f"  {one['ratio']:.2f}  {name}, bare {one['bare']:.2f} s", flush=True)
    print("seconds of tracing by layers, bare and watched")
    for layers in DEPTHS:
        (one,) = both(lambda: transformer(layers, scanned=False), 3, True)  # noqa: B023
        found["depths"][layers] = one
        print(f"  {layers:3}: {one['bare']:.2f}, {one['watched']:.2f}", flush=True)
    found["exponent"] = {
        name: exponent([one[name] for one in found["depths"].values()])
        for name in ("bare", "watched")
    }
    print(f"exponent: {found['exponent']} (at most {AT_MOST_EXPONENT})")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), "utf-8")


if __name__ == "__main__":
    main()
