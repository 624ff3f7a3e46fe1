"""Each program of the zoo: found where it is, on the line and in the iteration."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from zoo import CASES, Case
from zoo.spy import spying

import nndiag

SICK = [case for case in CASES if case.truth is not None]
INFINITE_ON_PURPOSE = ("masked_scores_as_output", "inf_when_only_nan_is_looked_for")
SOUND = [case for case in CASES if case.truth is None]


def name_of(case: Case) -> str:
    return case.name


def facts(found: Any) -> dict[str, Any]:
    """What an autopsy says, in the words of `Truth`."""
    return {
        "kind": found.kind,
        "primitive": found.primitive,
        "line": found.line,
        "path": found.path,
        "direction": found.direction,
        "element": found.elements[0],
        "origin": found.origin.primitive if found.origin else "",
        "origin_line": found.origin.line if found.origin else 0,
        "reaches": found.reaches_output,
        "argument": found.argument,
        "file": Path(found.file).name,
    }


def truth_of(case: Case) -> dict[str, Any]:
    assert case.truth is not None
    truth = {**vars(case.truth), "file": case.file.name if case.truth.line else ""}
    return {key: value for key, value in truth.items() if key in WORDS}


WORDS = ("kind", "primitive", "line", "path", "direction", "element", "reaches")
WORDS += ("origin", "origin_line", "argument", "file")


def test_the_zoo_is_large() -> None:
    assert len(SICK) >= 60
    assert len(SOUND) >= 20
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", SICK, ids=name_of)
def test_a_sick_program_is_found(case: Case) -> None:
    found = nndiag.autopsy(case.program, *case.arguments, **case.options)
    assert found is not None
    assert facts(found) == truth_of(case)
    assert case.truth is not None
    for words in case.truth.cause:
        assert words in found.cause
    if case.truth.rewrite:
        assert found.rewrite == case.truth.rewrite


@pytest.mark.parametrize("case", SOUND, ids=name_of)
def test_a_sound_program_gives_nothing(case: Case) -> None:
    found = nndiag.autopsy(case.program, *case.arguments, **case.options)
    assert found is None, found
    if case.name not in INFINITE_ON_PURPOSE:
        assert not set(badness(case.program(*case.arguments)))


UNSEEN = ("long_scan", "mapped_while_of_different_lengths")
"""Ten thousand steps in Python take the spy too long; a `while` under `vmap` is never
run in Python (its truth is worked out in `test_loops.py`)."""


@pytest.mark.parametrize("case", SICK, ids=name_of)
def test_the_truth_is_seen_operation_by_operation(case: Case) -> None:
    truth = case.truth
    assert truth is not None
    if truth.primitive == "input" or case.name in UNSEEN:
        return
    with spying() as seen:
        bad = set(badness(case.program(*case.arguments)))
    assert bool(bad) == truth.reaches
    first = next(sighting for sighting in seen if sighting.kind == truth.kind)
    assert (first.primitive, first.element) == (truth.primitive, truth.element)
    if truth.direction == "forward":
        assert first.line == truth.line
    if truth.origin:
        origin = next(sighting for sighting in seen if sighting.kind == "inf")
        assert first.line != 0
        assert truth.origin in {s.primitive for s in seen if s.kind == "inf"}, origin


def test_the_long_scan_overflows_where_it_says() -> None:
    from zoo.loops import RATIO

    value = np.float32(1)
    with np.errstate(over="ignore"):
        steps = next(i for i in range(10_000) if np.isinf(value := value * RATIO))
    assert steps == 9731


def badness(output: Any) -> Iterator[str]:
    for leaf in jax.tree.leaves(output):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            array = np.asarray(leaf).astype(np.float64)
            yield from ["nan"] if np.isnan(array).any() else []
            yield from ["inf"] if np.isinf(array).any() else []


SHARDED = """
import json, sys
sys.path[:0] = [{folder!r}]
import nndiag, test_zoo, zoo.sharded
answers = []
for case in test_zoo.CASES:
    if case.file.stem == "sharded":
        found = nndiag.autopsy(case.program, *case.arguments)
        said = found and test_zoo.facts(found)
        answers.append([case.name, said, test_zoo.truth_of(case)])
print(json.dumps(answers))
"""


def test_sharded_programs_are_found() -> None:
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", SHARDED.format(folder=str(Path(__file__).parent))],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    assert len(answers) == 3
    for name, found, truth in answers:
        assert found == truth, name
