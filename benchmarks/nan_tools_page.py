"""The page that `benchmarks/nan_tools.py` writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

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


Answers = tuple[str, str]
"""At best, and in a jitted step."""


def write(zoo: list[Any], runs: dict[str, dict[str, dict[str, Answers]]]) -> str:
    """The page.

    Args:
        zoo: the programs.
        runs: by version of JAX, then tool, then program; the first run in full.
    """
    header = "| " + " | ".join(["program", "truth", *TOOLS]) + " |"
    rule = "|" + "---|" * (len(TOOLS) + 2)
    sick = sum(case.truth is not None for case in zoo)
    answers = next(iter(runs.values()))
    parts = [
        "# What finds a NaN or Inf",
        f"JAX {' and '.join(runs)}, CPU; {sick} programs that make a NaN or Inf and "
        f"{len(zoo) - sick} that do not. Made by `python benchmarks/nan_tools.py`; the "
        "programs are in `tests/replay/zoo`: they were written for the tests of "
        "nndiag, so its own row says that the tests pass, not how it does on programs "
        "that nobody chose.",
        "- **line**: the tool names the true line of the source; **operation**: only "
        "the operation; **wrong**: neither; **silent**: it says nothing; **crashed**: "
        "it fails itself.\n"
        "- **At best**: each program runs as it is and under `jax.jit`, the better "
        "answer counts, and so does the line of the Inf which a NaN came from. **In a "
        "jitted step**: under `jax.jit` only, and only the line of the first NaN (or "
        "Inf, where there is no NaN) counts.\n"
        "- `jax_debug_nans` is revived before each program (within one process it goes "
        "dead after a ReLU; see ND602). checkify runs with `float_checks`.\n"
        "- `jax_debug_nans` and checkify do not look for Inf, `jax_debug_infs` does "
        'not look for NaN: "together" is the best answer of the three. No tool but '
        "nndiag names an iteration, a branch, a lane or an element.",
    ]
    for version, found in runs.items():
        parts.append(f"## Totals, JAX {version}")
        parts += _totals(zoo, found)
    parts.append(
        f"The tables below are of JAX {next(iter(runs))}: the answer at best, and that "
        "in a jitted step where it is another."
    )
    for group, title in GROUPS.items():
        rows = [
            "| "
            + " | ".join(
                [
                    f"`{case.name}`",
                    _truth(case),
                    *(_cell(*answers[tool][case.name]) for tool in TOOLS),
                ]
            )
            + " |"
            for case in zoo
            if case.file.stem == group
        ]
        parts += [f"## {title}", "\n".join([header, rule, *rows])]
    return "\n\n".join(parts) + "\n"


def _totals(zoo: list[Any], answers: dict[str, dict[str, Answers]]) -> Iterator[str]:
    """A table for each kind of program and of answer."""
    sick = [case for case in zoo if case.truth is not None]
    sound = [case for case in zoo if case.truth is None]
    for which, title in enumerate(("at best", "in a jitted step")):
        one = {
            tool: {name: both[which] for name, both in found.items()}
            for tool, found in answers.items()
        }
        together = {
            case.name: min((one[tool][case.name] for tool in TOOLS[:3]), key=SICK.index)
            for case in sick
        }
        yield _table(sick, SICK, one | {"together": together}, f"bad, {title}")
        yield _table(sound, SOUND, one, f"sound, {title}")


def _table(
    members: list[Any],
    words: tuple[str, ...],
    answers: dict[str, dict[str, str]],
    title: str,
) -> str:
    lines = [
        f"| {title} | " + " | ".join(words) + " |",
        "|" + "---|" * (len(words) + 1),
    ]
    for tool in answers:
        counts = Counter(answers[tool][case.name] for case in members)
        cells = [str(counts[word]) for word in words]
        lines.append(f"| {tool} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(best: str, jitted: str) -> str:
    return best if best == jitted else f"{best} (jitted: {jitted})"


def _truth(case: Any) -> str:
    truth = case.truth
    if truth is None:
        return "finite"
    kind = {"nan": "NaN", "inf": "Inf"}[truth.kind]
    place = f" in {' / '.join(truth.path)}" if truth.path else ""
    direction = ", backward" if truth.direction == "backward" else ""
    return f"{kind}, {truth.primitive}{place}{direction}"
