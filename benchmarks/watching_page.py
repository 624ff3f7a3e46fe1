"""The page on what watching costs, from what three benchmarks have measured.

python benchmarks/watching.py --json FOLDER/watching.json
python benchmarks/compiling.py --json FOLDER/compiling.json
python benchmarks/peers.py --json FOLDER/peers.json
python benchmarks/watching_page.py FOLDER [--output docs/overhead.md]

Measure on a quiet machine: the load is told on the page.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compiling import AT_MOST_BYTES, AT_MOST_EXPONENT, AT_MOST_SECONDS
from watching import STRIDES

WAYS = {"watch": "`nndiag.watch` and `record`", "script": "`nndiag run script.py`"}


def write(watching: Any, compiling: Any, peers: Any) -> str:
    """The page, from what the three have measured."""
    parts = [
        "# What watching costs",
        f"JAX {watching['jax']}, PyTorch {peers['torch']}, CPU, "
        f"{os.cpu_count()} cores. Made by `python benchmarks/watching_page.py`, whose "
        "docstring says from what; the programs are in `benchmarks/programs.py`.",
        "- A number is the time of a watched loop over that of the bare loop, the "
        "median over rounds, with the quartiles. In each round, each loop runs a block "
        "of steps, in random order, in one process. **Processor** is the same ratio of "
        "processor time, over all threads: other programs that keep the machine busy "
        "disturb it less.\n"
        "- **Bare again** is the bare loop against itself: noise.\n"
        "- A bare loop is a jitted step called from Python; losses are read at the end "
        "of a block. Every 10 steps is the default of `nndiag run`. All readings are "
        "stored on disk, within the time that is measured.\n"
        "- A number in bold is above its bound.",
        "## The programs",
        "\n".join(_programs(watching["programs"])),
        "## Memory",
        "Arguments, outputs and temporaries of the compiled step, as XLA counts them, "
        "less what outputs share with arguments, at every step. At most "
        f"{AT_MOST_BYTES:.2f}.",
        "\n".join(_memory(compiling["memory"])),
        "## Before the first step",
        "Processor seconds for the 8-layer scanned transformer, with empty caches, "
        f"watched and bare in turn; all: at most {AT_MOST_SECONDS} times bare.",
        "\n".join(_stages(compiling["stages"])),
        "Processor seconds of tracing by the number of layers in a Python loop. The "
        "exponent b of a fit of a·layers^b is "
        f"{_marked(compiling['exponent']['watched'], AT_MOST_EXPONENT)} watched and "
        f"{compiling['exponent']['bare']:.2f} bare; 1 is linear.",
        "\n".join(_depths(compiling["depths"])),
        "## Other tools",
        "The network 784-512-512-10 on batches of 128. Ratios are of each tool to a "
        "bare loop in its own library, in which a step takes "
        f"{watching['programs']['MLP']['milliseconds']:.1f} ms (JAX) and "
        f"{peers['milliseconds']:.1f} ms (PyTorch). What the tools measure differs: "
        "nndiag measures activations, their derivatives, gradients, parameters and "
        "updates (norms, means, deviations, shares of zeros and of saturated units) "
        "and keeps samples; by hand, norms of parameters, gradients and updates; "
        "hooks, norms of activations, cotangents, weights and gradients; TensorBoard "
        'and `wandb.watch(log="all")`, histograms of weights and gradients (1000 is '
        "the default of wandb); Cockpit, its configuration `economy`, with the "
        "gradient of each example.",
        "\n".join(_tools(watching["programs"]["MLP"], peers)),
    ]
    return "\n\n".join(parts) + "\n"


def _programs(programs: Any) -> Iterator[str]:
    names = [f"{way}, every {every}" for way in WAYS for every in STRIDES]
    titles = [f"{WAYS[way]}, every {every}" for way in WAYS for every in STRIDES]
    yield from _head("program", "ms a step", "load", "bare again", *titles)
    bounds = [f"at most {bound:.2f}" for _ in WAYS for bound in STRIDES.values()]
    yield _row("", "", "", "", *bounds)
    for program, one in programs.items():
        cells = [
            _quartiles(one["wall"][name], STRIDES[int(name.split()[-1])])
            for name in names
        ]
        noise = _quartiles(one["wall"]["bare again"])
        scale = f"{one['milliseconds']:.1f}", f"{one['load']:.1f}"
        yield _row(program, *scale, noise, *cells)
        used = [
            _marked(one["processor"][name][1], STRIDES[int(name.split()[-1])])
            for name in names
        ]
        noise = f"{one['processor']['bare again'][1]:.2f}"
        yield _row("— processor", "", "", noise, *used)


def _memory(memory: Any) -> Iterator[str]:
    yield from _head("program", "bare", "watched", "ratio")
    for name, one in memory.items():
        sizes = [f"{one[kind] / 2**20:.1f} MiB" for kind in ("bare", "watched")]
        yield _row(name, *sizes, _marked(one["ratio"], AT_MOST_BYTES))


def _stages(stages: Any) -> Iterator[str]:
    yield from _head("", "bare", "watched", "ratio")
    for name, one in stages.items():
        bound = AT_MOST_SECONDS if name == "all" else float("inf")
        seconds = [f"{one[kind]:.2f}" for kind in ("bare", "watched")]
        yield _row(name, *seconds, _marked(one["ratio"], bound))


def _depths(depths: Any) -> Iterator[str]:
    yield from _head("layers", *depths)
    for kind in ("bare", "watched"):
        yield _row(kind, *(f"{one[kind]:.2f}" for one in depths.values()))


def _tools(mlp: Any, peers: Any) -> Iterator[str]:
    yield from _head("tool", "ratio", "processor")
    for library, found in (("JAX", mlp), ("PyTorch", peers)):
        for name, ratios in found["wall"].items():
            way, _, rest = name.partition(", ")
            told = f"{WAYS[way]}, {rest}" if way in WAYS else name
            used = f"{found['processor'][name][1]:.2f}"
            yield _row(f"{library}: {told}", _quartiles(ratios), used)
    for name, reason in peers["failed"].items():
        yield _row(f"PyTorch: {name}", f"did not run: {reason}", "")


def _head(*titles: Any) -> list[str]:
    return [_row(*titles), "|" + "---|" * len(titles)]


def _row(*cells: Any) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _quartiles(ratios: list[float], bound: float = float("inf")) -> str:
    low, middle, high = ratios
    return f"{_marked(middle, bound)} ({low:.2f} to {high:.2f})"


def _marked(number: float, bound: float) -> str:
    return f"{number:.2f}" if number <= bound else f"**{number:.2f}**"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    names = ("watching", "compiling", "peers")
    files = [options.folder / f"{name}.json" for name in names]
    if missing := [str(file) for file in files if not file.is_file()]:
        sys.exit(f"error: there is no {missing[0]}; run the benchmark that makes it")
    page = write(*(json.loads(file.read_text("utf-8")) for file in files))
    if options.output is None:
        print(page)
    else:
        options.output.write_text(page, "utf-8")


if __name__ == "__main__":
    main()
