"""Forward and reverse mode are held against each other."""

import jax
import jax.numpy as jnp
import pytest
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from nndiag.gradcheck import check_grads


def test_both_modes_of_a_right_function_agree_with_the_derivative_written_out():
    check = check_grads(lambda x: (x**3).sum() * x[0], jnp.array([1.0, -2.0, 0.5]))
    duality = check.forward_reverse
    assert duality is not None
    assert duality.agree
    assert duality.forward == pytest.approx(duality.reverse, rel=1e-13)
    assert 0 < duality.bound < 1e-11


def test_a_custom_vjp_has_no_forward_mode():
    @jax.custom_vjp
    def square(x):
        return x**2

    square.defvjp(lambda x: (x**2, x), lambda x, g: (2 * x * g,))
    check = check_grads(lambda x: square(x).sum(), jnp.ones(2))
    assert check.forward_reverse is not None
    assert check.forward_reverse.agree is None
    assert "custom_vjp" in check.forward_reverse.note
    assert check.ok


def test_one_mode_alone_is_held_against_nothing():
    check = check_grads(lambda x: (x**2).sum(), jnp.ones(2), modes=("reverse",))
    assert check.forward_reverse is None


def test_a_wrong_transpose_is_found():
    triple = Primitive("triple")
    triple.def_impl(lambda x: 3.0 * x)
    triple.def_abstract_eval(lambda x: x)
    mlir.register_lowering(
        triple, mlir.lower_fun(lambda x: 3.0 * x, multiple_results=False)
    )
    batching.defvectorized(triple)
    ad.deflinear2(triple, lambda g, x: [triple.bind(g) * 2.0])
    check = check_grads(lambda x: (triple.bind(x) ** 2).sum(), jnp.arange(1.0, 4.0))
    assert check.ok is False
    assert check.forward_reverse is not None
    assert check.forward_reverse.agree is False
    assert [finding.code for finding in check.findings] == ["ND501", "ND503"]
