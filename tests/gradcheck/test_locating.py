"""A wrong entry is found by differences alone, in few evaluations."""

import jax.numpy as jnp
import numpy as np
import pytest

from nndiag.gradcheck.examining import Examiner
from nndiag.gradcheck.given import CallersGiven
from nndiag.gradcheck.locating import locate
from nndiag.gradcheck.point import Point
from nndiag.gradcheck.program import Program

SIZE = 2**12


def setting(wrong):
    x = jnp.linspace(-1, 1, SIZE)

    def function(x):
        return jnp.sin(x).sum() + (x[:-1] * x[1:]).sum()

    def gradient(x):
        found = np.cos(np.asarray(x, float))
        found[:-1] += np.asarray(x[1:], float)
        found[1:] += np.asarray(x[:-1], float)
        for index, factor in wrong.items():
            found[index] *= factor
        return found

    program = Program(function, Point(function, [x], {}, None), has_aux=False)
    given = CallersGiven(program, gradient)
    examiner = Examiner(program, given, None, program.point.vector)
    random = np.random.default_rng(0)
    direction = random.choice([-1.0, 1.0], SIZE)
    leaf = program.point.checked[0]
    return program, examiner, leaf, direction, examiner.compare(leaf, direction)


@pytest.mark.parametrize("index", [0, 1234, SIZE - 1])
def test_one_entry_takes_two_evaluations_for_each_halving(index):
    program, examiner, leaf, direction, compared = setting({index: 1.01})
    assert compared.is_wrong
    before = program.evaluations
    found = locate(examiner, leaf, compared, direction, most=16)
    assert list(found) == [index]
    # 12 halvings of two evaluations, and at most 64 to measure the entry itself.
    assert program.evaluations - before <= 2 * 12 + 64


def test_several_entries_are_found_one_after_the_other():
    wrong = {7: 2.0, 99: 0.5, 4000: -1.0}
    _, examiner, leaf, direction, compared = setting(wrong)
    found = locate(examiner, leaf, compared, direction, most=16)
    assert set(found) == set(wrong)


def test_nothing_is_found_in_a_right_gradient():
    *_, compared = setting({})
    assert not compared.is_wrong
