"""What finds a NaN or Inf: the zoo of the tests, through four tools.

    python benchmarks/nan_tools.py [--output docs/nan-tools.md] [--also PYTHON]

Each tool runs in a process of its own, with eight simulated devices, each program once
as it is and once under `jax.jit`. A tool that names the true line of the source,
anywhere in its message or as the innermost line of the program in its traceback, has
found it. There are two answers: *at best*, the better one of the two runs, for which
the line of the origin (the Inf that a NaN came from) counts as well; and *in a jitted
step*, as a program stands in a training step: under `jax.jit` only, and only the line
of the first NaN counts.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import json
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from nan_tools_page import SICK, SOUND, TOOLS, Answers, write

ROOT = Path(__file__).resolve().parents[1]


def cases() -> list[Any]:
    """The zoo, with the programs for several devices."""
    sys.path.insert(0, str(ROOT / "tests" / "replay"))
    import zoo
    import zoo.sharded

    assert zoo.sharded
    return zoo.CASES


def judge(case: Any, error: BaseException | None, strict: bool = False) -> str:
    """What an exception of a tool says about a case.

    Args:
        case: the program.
        error: the exception, `None` if the tool said nothing.
        strict: whether to name the origin is not enough.
    """
    from jax.experimental import checkify as checks

    truth = case.truth
    if error is None:
        return "right" if truth is None else "silent"
    known = (FloatingPointError, checks.JaxRuntimeError)
    if not isinstance(error, known) or "deleted" in str(error):
        return "crashed"
    if truth is None:
        return "false alarm"
    named = set(_named(error, str(case.file)))
    lines = {truth.line} if strict else {truth.line, truth.origin_line}
    if named & (lines - {0}):
        return "line"
    operations = {truth.primitive} if strict else {truth.primitive, truth.origin}
    if (operations - {""}) & set(re.findall(r"\w+", str(error))):
        return "operation"
    return "wrong"


def _named(error: BaseException | None, file: str) -> Iterator[int]:
    """Lines of a file that an exception names: in words, or as its innermost one."""
    yield from map(int, re.findall(rf"{re.escape(file)}:(\d+)", str(error)))
    while error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        yield from [frame.lineno or 0 for frame in frames if frame.filename == file][
            -1:
        ]
        error = error.__cause__ or error.__context__


def debug_flag(flag: str) -> Callable[[Any], Answers]:
    """Runs under one of JAX's debug flags."""

    def run(case: Any) -> Answers:
        import jax

        from nndiag.jaxprs import compat

        def attempt(wrap: Callable[[Any], Any]) -> Exception | None:
            jax.config.update(flag, True)
            # why: one program must not blind the flag for the next (see ND602)
            compat.revive_debug_nans()
            try:
                jax.block_until_ready(wrap(case.program)(*case.arguments))
            except Exception as error:
                return error
            finally:
                jax.config.update(flag, False)
            return None

        return both(case, attempt)

    return run


def checkify(case: Any) -> Answers:
    """Runs under `checkify` with its float checks."""
    from jax.experimental import checkify

    def attempt(wrap: Callable[[Any], Any]) -> Exception | None:
        checked = checkify.checkify(case.program, errors=checkify.float_checks)
        try:
            error, _ = wrap(checked)(*case.arguments)
            error.throw()
        except Exception as error:
            return error
        return None

    return both(case, attempt)


def autopsy(case: Any) -> Answers:
    """Runs the autopsy of nndiag."""
    import jax

    jitted = _autopsy(case, jax.jit)
    return _better(case, jitted, lambda: _autopsy(case, lambda fn: fn)), jitted


def _autopsy(case: Any, wrap: Callable[[Any], Any]) -> str:
    import nndiag

    try:
        found = nndiag.autopsy(wrap(case.program), *case.arguments, **case.options)
    except Exception:
        return "crashed"
    truth = case.truth
    if truth is None:
        return "right" if found is None else "false alarm"
    if found is None:
        return "silent"
    if (found.line, found.argument) == (truth.line, truth.argument):
        return "line"
    return "operation" if found.primitive == truth.primitive else "wrong"


def both(case: Any, attempt: Callable[[Any], Exception | None]) -> Answers:
    """At best, of a program under `jax.jit` and as it is; and in a jitted step."""
    import jax

    error = attempt(jax.jit)
    first = judge(case, error)
    best = _better(case, first, lambda: judge(case, attempt(lambda fn: fn)))
    return best, judge(case, error, strict=True)


def _better(case: Any, first: str, second: Callable[[], str]) -> str:
    order = SOUND if case.truth is None else SICK
    return first if first == order[0] else min(first, second(), key=order.index)


RUN: dict[str, Callable[[Any], Answers]] = {
    "jax_debug_nans": debug_flag("jax_debug_nans"),
    "jax_debug_infs": debug_flag("jax_debug_infs"),
    "checkify": checkify,
    "nndiag.autopsy": autopsy,
}


def child(tool: str, start: int) -> None:
    """Runs one tool over the zoo from a case on; one line of JSON for each."""
    import jax

    for case in cases()[start:]:
        jax.clear_caches()
        with contextlib.redirect_stdout(io.StringIO()):
            best, jitted = RUN[tool](case)
        print(json.dumps([case.name, [best, jitted]]), flush=True)


def answers_of(tool: str, names: list[str], python: str) -> dict[str, Answers]:
    """A tool's answers to each case; a case that ends the process is "crashed"."""
    found: dict[str, Answers] = {}
    flags = "--xla_force_host_platform_device_count=8"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    while len(found) < len(names):
        command = [python, __file__, "--tool", tool, "--start", str(len(found))]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=600
        )
        lines = [line for line in done.stdout.splitlines() if line.startswith('["')]
        for name, (best, jitted) in map(json.loads, lines):
            found[name] = best, jitted
        if len(found) < len(names):
            found[names[len(found)]] = "crashed", "crashed"
    return found


@functools.cache
def version_of(python: str) -> str:
    """The version of JAX in the environment of an interpreter."""
    command = [python, "-c", "import jax; print(jax.__version__)"]
    return subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "nan-tools.md")
    parser.add_argument("--tool", choices=TOOLS, help=argparse.SUPPRESS)
    parser.add_argument("--start", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument(
        "--also", help="the Python of an environment with another version of JAX"
    )
    options = parser.parse_args()
    if options.tool:
        child(options.tool, options.start)
        return
    zoo = cases()
    names = [case.name for case in zoo]
    pythons = [sys.executable, *filter(None, [options.also])]
    jobs = [(tool, python) for python in pythons for tool in TOOLS]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda job: answers_of(job[0], names, job[1]), jobs))
    runs: dict[str, dict[str, dict[str, Answers]]] = {}
    for (tool, python), answers in zip(jobs, found, strict=True):
        runs.setdefault(version_of(python), {})[tool] = answers
    options.output.write_text(write(zoo, runs), encoding="utf-8")
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
