"""What finds a wrong gradient: the zoo of the tests, through four checkers.

    python benchmarks/gradient_checkers.py [--torch PYTHON] [--output PAGE]

Each checker runs in a process of its own. A gradient written by hand is given to
nndiag as it is, to the checkers of JAX and chex as the `custom_vjp` of its function.
torch gets those cases that `checkers_torch.py` has in its own words, in the Python
named by `--torch`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from checkers_jax import SIDE, cases

ROOT = Path(__file__).resolve().parents[1]

JAX_TOOLS = {
    "check_grads": "`jax.test_util.check_grads`",
    "check_grads_64": "`jax.test_util.check_grads` in float64",
    "chex": "`chex.assert_numerical_grads`",
    "chex_64": "`chex.assert_numerical_grads` in float64",
}
TORCH_TOOLS = {
    "torch": "`torch.autograd.gradcheck`",
    "torch_fast": "`torch.autograd.gradcheck(fast_mode=True)`",
}
TOOLS = {"nndiag": "`nndiag.check_grads`", **JAX_TOOLS, **TORCH_TOOLS}
WORDS = ("found", "missed", "undecided", "could not run")
SOUND = ("right", "false alarm", "undecided", "could not run")


def lines_of(tool: str) -> list[Any]:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("checkers_jax.py")), tool],
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def torch_answers(python: str) -> dict[str, dict[str, str]]:
    """Hands the arrays of the zoo to a process with torch."""
    import jax

    from gradcheck import zoo

    arrays: dict[str, Any] = {}
    for module in ("activations", "attention", "convolution", "dense", "losses"):
        arrays.update(constants(module, getattr(zoo, module)))
    for module in ("normalisation", "sequences"):
        arrays.update(constants(module, getattr(zoo, module)))
    listed = []
    for case in cases():
        fn = getattr(case.fn, "func", case.fn)
        keywords = getattr(case.fn, "keywords", {})
        options = {k: getattr(v, "__name__", v) for k, v in keywords.items()}
        if case.gradient is None and not case.double:
            continue
        place = f"{fn.__module__.rpartition('.')[2]}.{fn.__name__}"
        leaves = [np.float64(a) for a in jax.tree.leaves(case.args)]
        arrays.update({f"{case.name}:x{i}": a for i, a in enumerate(leaves)})
        if case.gradient is not None:
            point = jax.tree.map(np.float64, case.args)
            with jax.enable_x64(True):
                given = jax.tree.leaves(case.gradient(*point))
            arrays.update({f"{case.name}:g{i}": a for i, a in enumerate(given)})
        listed.append([case.name, place, options, bool(case.kind)])
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "arrays.npz", **arrays)
        (Path(folder) / "cases.json").write_text(json.dumps(listed), encoding="utf-8")
        script = Path(__file__).with_name("checkers_torch.py")
        done = subprocess.run(
            [python, str(script), folder], capture_output=True, text=True, check=True
        )
    return json.loads(done.stdout.splitlines()[-1])


def constants(name: str, module: Any) -> dict[str, Any]:
    return {
        f"{name}.{key}": value
        for key, value in vars(module).items()
        if isinstance(value, np.ndarray)
    }


def share(cases: list[Any], found: dict[str, str], words: tuple[str, ...]) -> list[str]:
    counts = Counter(found[case.name] for case in cases if case.name in found)
    return [str(counts[word]) for word in words]


def table(header: list[str], rows: Iterable[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(answers: dict[str, dict[str, str]], big: list[str]) -> str:
    import chex
    import jax

    zoo = cases()
    ill = [case for case in zoo if case.kind]
    sound = [case for case in zoo if not case.kind]
    tools = [tool for tool in TOOLS if tool in answers]
    kinds = sorted({case.kind for case in ill})
    alarms = [
        [f"`{case.name}`", ", ".join(TOOLS[tool] for tool in guilty)]
        for case in sound
        if (guilty := [t for t in tools if answers[t].get(case.name) == "false alarm"])
    ]
    absent = "" if "torch" in answers else "torch was not there: it is left out.\n"
    return (
        "\n\n".join(
            [
                "# What finds a wrong gradient",
                f"{len(ill)} wrong gradients of {len(kinds)} kinds and {len(sound)} "
                f"right ones, CPU, JAX {jax.__version__}, chex {chex.__version__}. "
                "Made by `python benchmarks/gradient_checkers.py`; the gradients are "
                "in `tests/gradcheck/zoo`.",
                NOTES + absent,
                "## Wrong gradients",
                table(
                    ["checker", *WORDS, "not translated"],
                    (
                        [
                            TOOLS[t],
                            *share(ill, answers[t], WORDS),
                            lacking(ill, answers[t]),
                        ]
                        for t in tools
                    ),
                ),
                "## Right gradients",
                table(
                    ["checker", *SOUND, "not translated"],
                    (
                        [
                            TOOLS[t],
                            *share(sound, answers[t], SOUND),
                            lacking(sound, answers[t]),
                        ]
                        for t in tools
                    ),
                ),
                "## Found, by kind",
                table(
                    ["kind", *(TOOLS[tool] for tool in tools)],
                    (
                        [
                            kind,
                            *(
                                ratio([c for c in ill if c.kind == kind], answers[t])
                                for t in tools
                            ),
                        ]
                        for kind in kinds
                    ),
                ),
                "## One million parameters",
                f"A matrix of {SIDE} × {SIDE} in one dense layer, float32, two cores. "
                "`torch.autograd.gradcheck` would evaluate the function 2,000,000 "
                "times and was not run.",
                "| gradient | `nndiag.check_grads` | time | evaluations | "
                "`jax.test_util.check_grads` | time |\n|---|---|---|---|---|---|\n"
                + "\n".join(big),
                "## Every wrong gradient",
                table(
                    ["gradient", "kind", *(TOOLS[tool] for tool in tools)],
                    (
                        [
                            f"`{c.name}`",
                            c.kind,
                            *(answers[t].get(c.name, "–") for t in tools),
                        ]
                        for c in ill
                    ),
                ),
                "## False alarms",
                table(["gradient", "called wrong by"], alarms),
            ]
        )
        + "\n"
    )


NOTES = """\
- **found**: the checker says that the gradient is wrong; **missed**: it says nothing;
  **undecided**: it says that it cannot decide (only nndiag can); **could not run**: it
  raises something else, or does not take such a function.
- `jax.test_util.check_grads` and `chex.assert_numerical_grads` run with first order and
  their default tolerances, at the type of the parameters and, since smaller types have
  tolerances of several percent, again with the point in float64 under `jax_enable_x64`,
  which is the best that they offer. They get all leaves as separate arguments, only
  those that have a derivative, and `modes=("rev",)` where a `custom_vjp` has no forward
  mode. Both try one random direction, of fixed seed.
- `torch.autograd.gradcheck` asks for float64 and gets it; its default looks at every
  element, `fast_mode=True` at one random direction. A wrong rule of JAX cannot be
  translated; a gradient written by hand is the backward pass of a `Function` whose
  forward pass is written in torch.
- Right gradients at a kink or a jump count as a false alarm if they are called wrong.
"""


def lacking(members: list[Any], found: dict[str, str]) -> str:
    return str(sum(case.name not in found for case in members))


def ratio(members: list[Any], found: dict[str, str]) -> str:
    tried = [case for case in members if case.name in found]
    hits = sum(found[case.name] == "found" for case in tried)
    return f"{hits} of {len(tried)}" if tried else "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    page = ROOT / "docs" / "gradient-checkers.md"
    parser.add_argument("--output", type=Path, default=page)
    parser.add_argument("--torch", help="a Python that has torch", metavar="PYTHON")
    options = parser.parse_args()
    with ThreadPoolExecutor(2) as pool:
        tools = ("nndiag", *JAX_TOOLS)
        answers = dict(zip(tools, map(dict, pool.map(lines_of, tools)), strict=True))
    answers |= torch_answers(options.torch) if options.torch else {}
    options.output.write_text(write(answers, lines_of("million")[0]), encoding="utf-8")
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
