"""Every wrong gradient of the zoo is found, no right one is called wrong.

A sample is tried here; with ``NNDIAG_WHOLE_ZOO=1`` in the environment, and by
``benchmarks/gradient_checkers.py``, the whole zoo is.
"""

from __future__ import annotations

import inspect
import os
from functools import cache
from typing import Any

import jax
import numpy as np
import pytest

import nndiag

from . import CASES, KINDS, Case

WRONG = [case for case in CASES if case.kind]
RIGHT = [case for case in CASES if not case.kind and case.often]
BY_HAND = [case for case in RIGHT if case.gradient is not None]
NAMED = 0.95
"""Share of the wrong gradients whose wrong leaves are named, and of whose kinds are."""
EACH_KIND, EACH_RIGHT = 2, 6
"""Without `WHOLE`: so many wrong gradients of each kind, one right one of so many."""
WHOLE = "NNDIAG_WHOLE_ZOO" in os.environ


def first_of_each_kind() -> list[Case]:
    found = []
    for kind in KINDS:
        found += [case for case in WRONG if case.kind == kind][:EACH_KIND]
    return found


TRIED_WRONG = WRONG if WHOLE else first_of_each_kind()
TRIED_RIGHT = RIGHT if WHOLE else [*RIGHT[::EACH_RIGHT], *BY_HAND]


def name_of(case: Case) -> str:
    return case.name


@cache
def check(name: str) -> Any:
    case = next(case for case in CASES if case.name == name)
    with jax.enable_x64(case.double):
        return nndiag.check_grads(
            case.fn, *case.args, gradient=case.gradient, **case.options
        )


def test_the_zoo_is_large() -> None:
    assert len(WRONG) >= 60
    assert len(RIGHT) >= 200
    assert {case.kind for case in WRONG} == set(KINDS)
    assert len(KINDS) >= 15
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", TRIED_WRONG, ids=name_of)
def test_a_wrong_gradient_is_found(case: Case) -> None:
    found = check(case.name)
    assert found.ok is False, found
    assert (found.rule.name if found.rule else "") == case.rule


@pytest.mark.parametrize("case", TRIED_RIGHT, ids=name_of)
def test_a_right_gradient_is_not_called_wrong(case: Case) -> None:
    found = check(case.name)
    verdicts = {leaf.verdict for leaf in found.leaves}
    assert "wrong" not in verdicts, found
    assert found.ok is True or (case.undecided and found.ok is None), found


def test_the_wrong_leaves_are_named() -> None:
    tried = TRIED_WRONG
    missed = [case.name for case in tried if leaves_of(check(case.name)) != case.wrong]
    assert len(missed) <= (1 - NAMED) * len(tried), missed


def test_the_kind_is_named() -> None:
    tried = TRIED_WRONG
    missed = [case.name for case in tried if not names_kind(check(case.name), case)]
    print(f"{len(missed)} of {len(tried)} kinds are not named: {missed}")
    assert len(missed) <= (1 - NAMED) * len(tried), missed


def leaves_of(found: Any) -> set[str]:
    return {leaf.path for leaf in found.leaves if leaf.verdict == "wrong"}


def names_kind(found: Any, case: Case) -> bool:
    said = [leaf.explanation for leaf in found.leaves if leaf.path in case.wrong]
    if found.rule:
        said.append(found.rule.explanation)
    words = " ".join(said).lower()
    return any(word in words for word in KINDS[case.kind])


# The truth of the zoo, by autodiff in float64 without the rules


@pytest.mark.parametrize("case", [*TRIED_WRONG, *BY_HAND], ids=name_of)
def test_exactly_the_wrong_leaves_differ_from_autodiff(case: Case) -> None:
    name = next(iter(inspect.signature(case.fn).parameters))
    given = (case.gradient or jax.jit(jax.grad(case.fn)))(*case.args)
    with jax.enable_x64(True):
        doubles = jax.tree.map(np.float64, case.args)
        truth = jax.jit(jax.grad(case.plain or case.fn))(*doubles)
    leaves = jax.tree_util.tree_leaves_with_path(truth)
    differ = set()
    for (path, exact), leaf in zip(leaves, jax.tree.leaves(given), strict=True):
        assert exact.shape == leaf.shape
        error = np.max(np.abs(np.asarray(leaf) - np.asarray(exact)))
        if error > 2e-5 * np.max(np.abs(exact)):
            differ.add(name + jax.tree_util.keystr(path))
    assert differ == case.wrong


@pytest.mark.parametrize(
    "case", [case for case in TRIED_WRONG if case.plain], ids=name_of
)
def test_a_wrong_rule_leaves_the_value_alone(case: Case) -> None:
    assert case.plain is not None
    np.testing.assert_array_equal(case.fn(*case.args), case.plain(*case.args))
