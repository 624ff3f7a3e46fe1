"""What finds a NaN or Inf: the zoo of the tests, through four tools.

    python benchmarks/nan_tools.py [--output docs/nan-tools.md]

Each tool runs in a process of its own, with eight simulated devices, each program once
as it is and once under `jax.jit`; of the two answers the better one counts. A tool that
names the true line of the source, anywhere in its message or as the innermost line of
the program in its traceback, has found it; the line of the origin (the Inf that a NaN
came from) counts as well.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ("jax_debug_nans", "jax_debug_infs", "checkify", "nndiag.autopsy")
SICK = ("line", "operation", "wrong", "silent", "crashed")
SOUND = ("right", "false alarm", "crashed")
GROUPS = {
    "forward": "Forward pass",
    "low_precision": "Low precision",
    "backward": "Backward pass",
    "loops": "Loops, branches, mapped and jitted functions",
    "rules": "Functions with derivatives of their own",
    "sharded": "Several devices",
    "swallowed": "NaN and Inf that do not reach the output",
    "finite": "Nothing to find",
}


def cases() -> list[Any]:
    """The zoo, with the programs for several devices."""
    sys.path.insert(0, str(ROOT / "tests" / "replay"))
    import zoo
    import zoo.sharded

    assert zoo.sharded
    return zoo.CASES


def judge(case: Any, error: BaseException | None) -> str:
    """What an exception of a tool says about a case."""
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
    if truth.line in named or (truth.origin_line and truth.origin_line in named):
        return "line"
    operations = {truth.primitive, truth.origin} - {""}
    if operations & set(re.findall(r"\w+", str(error))):
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


def debug_flag(flag: str) -> Callable[[Any], str]:
    """Runs under one of JAX's debug flags."""

    def run(case: Any) -> str:
        import jax

        from nndiag.jaxprs import compat

        def attempt(wrap: Callable[[Any], Any]) -> str:
            jax.config.update(flag, True)
            # why: one program must not blind the flag for the next (see ND602)
            compat.revive_debug_nans()
            try:
                jax.block_until_ready(wrap(case.program)(*case.arguments))
            except Exception as error:
                return judge(case, error)
            finally:
                jax.config.update(flag, False)
            return judge(case, None)

        return better(case, attempt)

    return run


def checkify(case: Any) -> str:
    """Runs under `checkify` with its float checks."""
    from jax.experimental import checkify

    def attempt(wrap: Callable[[Any], Any]) -> str:
        checked = checkify.checkify(case.program, errors=checkify.float_checks)
        try:
            error, _ = wrap(checked)(*case.arguments)
            error.throw()
        except Exception as error:
            return judge(case, error)
        return judge(case, None)

    return better(case, attempt)


def autopsy(case: Any) -> str:
    """Runs the autopsy of nndiag."""
    import nndiag

    try:
        found = nndiag.autopsy(case.program, *case.arguments, **case.options)
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


def better(case: Any, attempt: Callable[[Any], str]) -> str:
    """The better of the answers for a program under `jax.jit` and as it is."""
    import jax

    order = SOUND if case.truth is None else SICK
    first = attempt(jax.jit)
    if first == order[0]:
        return first
    return min(first, attempt(lambda program: program), key=order.index)


RUN: dict[str, Callable[[Any], str]] = {
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
            answer = RUN[tool](case)
        print(json.dumps([case.name, answer]), flush=True)


def answers_of(tool: str, names: list[str]) -> dict[str, str]:
    """A tool's answer to each case; a case that ends the process is "crashed"."""
    found: dict[str, str] = {}
    flags = "--xla_force_host_platform_device_count=8"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    while len(found) < len(names):
        command = [sys.executable, __file__, "--tool", tool, "--start", str(len(found))]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=600
        )
        lines = [line for line in done.stdout.splitlines() if line.startswith('["')]
        found.update(json.loads(line) for line in lines)
        if len(found) < len(names):
            found[names[len(found)]] = "crashed"
    return found


def write(zoo: list[Any], answers: dict[str, dict[str, str]]) -> str:
    """The page."""
    import jax

    header = "| " + " | ".join(["program", "truth", *TOOLS]) + " |"
    rule = "|" + "---|" * (len(TOOLS) + 2)
    sick = [case for case in zoo if case.truth is not None]
    sound = [case for case in zoo if case.truth is None]
    together = {
        case.name: min((answers[tool][case.name] for tool in TOOLS[:3]), key=SICK.index)
        for case in sick
    }
    parts = [
        "# What finds a NaN or Inf",
        f"JAX {jax.__version__}, CPU; {len(sick)} programs that make a NaN or Inf and "
        f"{len(sound)} that do not. Made by `python benchmarks/nan_tools.py`; the "
        "programs are in `tests/replay/zoo`.",
        "- **line**: the tool names the true line of the source (or that of the Inf "
        "which the NaN came from); **operation**: only the operation; **wrong**: "
        "neither; **silent**: it says nothing; **crashed**: it fails itself.\n"
        "- Each program runs as it is and under `jax.jit`; the better answer counts. "
        "`jax_debug_nans` is revived before each program (within one process it goes "
        "dead after a ReLU; see ND602). checkify runs with `float_checks`.\n"
        "- `jax_debug_nans` and checkify do not look for Inf, `jax_debug_infs` does "
        'not look for NaN: "together" is the best answer of the three. No tool but '
        "nndiag names an iteration, a branch, a lane or an element.",
        "## Totals",
        _totals(sick, SICK, answers | {"together": together}, "with a NaN or Inf"),
        _totals(sound, SOUND, answers, "without"),
    ]
    for group, title in GROUPS.items():
        members = [case for case in zoo if case.file.stem == group]
        rows = [
            "| "
            + " | ".join(
                [
                    f"`{case.name}`",
                    _truth(case),
                    *(answers[tool][case.name] for tool in TOOLS),
                ]
            )
            + " |"
            for case in members
        ]
        parts += [f"## {title}", "\n".join([header, rule, *rows])]
    return "\n\n".join(parts) + "\n"


def _totals(
    members: list[Any],
    words: tuple[str, ...],
    answers: dict[str, dict[str, str]],
    title: str,
) -> str:
    lines = [
        f"| programs {title} | " + " | ".join(words) + " |",
        "|" + "---|" * (len(words) + 1),
    ]
    for tool in answers:
        counts = Counter(answers[tool][case.name] for case in members)
        cells = [str(counts[word]) for word in words]
        lines.append(f"| {tool} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _truth(case: Any) -> str:
    truth = case.truth
    if truth is None:
        return "finite"
    kind = {"nan": "NaN", "inf": "Inf"}[truth.kind]
    place = f" in {' / '.join(truth.path)}" if truth.path else ""
    direction = ", backward" if truth.direction == "backward" else ""
    return f"{kind}, {truth.primitive}{place}{direction}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "nan-tools.md")
    parser.add_argument("--tool", choices=TOOLS, help=argparse.SUPPRESS)
    parser.add_argument("--start", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.tool:
        child(options.tool, options.start)
        return
    zoo = cases()
    names = [case.name for case in zoo]
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(answers_of, TOOLS, [names] * len(TOOLS))
        answers = dict(zip(TOOLS, found, strict=True))
    options.output.write_text(write(zoo, answers), encoding="utf-8")
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
