"""Causes say why, with the exact numbers of the first offending element."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from nndiag.jaxprs.location import Location
from nndiag.replay import autopsy
from nndiag.replay.birth import Birth
from nndiag.replay.causes import explain
from nndiag.replay.causes.evidence import largest, number
from nndiag.replay.causes.overflow import exponent_limit


def birth(fun: Any, *arguments: Any, kind: str = "nan") -> Birth:
    """The birth at the last equation of a function without control flow."""
    jaxpr = jax.make_jaxpr(fun)(*arguments)
    values = dict(zip(jaxpr.jaxpr.invars, arguments, strict=True))
    values |= dict(zip(jaxpr.jaxpr.constvars, jaxpr.consts, strict=True))
    makers: dict[Any, Any] = {}

    def read(atom: Any) -> Any:
        return atom.val if hasattr(atom, "val") else values[atom]

    def maker(variable: Any) -> tuple[Any, Sequence[Any]] | None:
        made = makers.get(variable)
        return made and (made, [read(atom) for atom in made.invars])

    for equation in jaxpr.jaxpr.eqns:
        operands = [read(atom) for atom in equation.invars]
        out = equation.primitive.bind(
            *operands, **equation.primitive.get_bind_params(equation.params)
        )
        for variable in equation.outvars:
            values[variable] = out
            makers[variable] = equation
    result = np.asarray(out)
    test = np.isnan if kind == "nan" else np.isinf
    return Birth(
        kind=kind,  # type: ignore[arg-type]
        equation=equation,
        operands=tuple(map(np.asarray, operands)),
        result=result,
        bad=test(result),
        location=Location("", "", 0),
        column=0,
        source="",
        direction="forward",
        path=(),
        origin=None,
        maker=maker,
    )


def cause(fun: Any, *arguments: Any, kind: str = "nan") -> str:
    return explain(birth(fun, *arguments, kind=kind), reaches_output=True)[0]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_limit_of_exp_is_where_exp_becomes_infinite(dtype: str) -> None:
    limit = exponent_limit("exp", dtype)
    exact = math.log(float(jnp.finfo(dtype).max))
    assert limit == pytest.approx(exact)
    assert math.exp(limit * 0.999) < largest(dtype) < math.exp(limit * 1.001)


def test_numbers_are_those_of_the_first_offending_element() -> None:
    x = jnp.array([[1.0, 2.0], [104.2, 1000.0]])
    assert cause(lax.exp, x, kind="inf") == (
        "exp(104.2) overflows float32, whose largest argument is 88.72."
    )
    y = jnp.array([3.0, -0.25, -7.0])
    assert cause(lax.log, y) == "log(-0.25) is not real."
    assert cause(lax.sqrt, y).startswith("sqrt(-0.25) is not real")


def test_numbers_of_a_broadcast_operand_are_found() -> None:
    top, below = jnp.array([[1.0, 0.0]]), jnp.array([[5.0, 0.0]])
    assert cause(lax.div, top, below).startswith("0 / 0")


@pytest.mark.parametrize(
    ("dtype", "value", "words"),
    [
        ("int32", 50_000, ("2500000000", "2147483647")),
        ("int16", 200, ("40000", "32767")),
        ("int8", 12, ("144", "127")),
    ],
)
def test_wrapped_integers_are_recomputed_exactly(
    dtype: str, value: int, words: tuple[str, str]
) -> None:
    n = jnp.array([1, value], dtype)

    def fun(n: Any) -> Any:
        return lax.sqrt(lax.convert_element_type(lax.mul(n, n), jnp.float32))

    text = cause(fun, n)
    assert all(word in text for word in words)
    assert int(words[0]) == value**2
    assert int(words[1]) == np.iinfo(dtype).max


def test_a_negative_integer_that_did_not_wrap_is_not_called_wrapped() -> None:
    def fun(n: Any) -> Any:
        return lax.sqrt(lax.convert_element_type(lax.mul(n, n - 9), jnp.float32))

    assert "wrapped" not in cause(fun, jnp.array([3], jnp.int32))


def test_a_cast_says_both_types_and_the_limit() -> None:
    def fun(x: Any) -> Any:
        return lax.convert_element_type(x, jnp.float16)

    text = cause(fun, jnp.array([1.0, 70_000.0]), kind="inf")
    assert "from float32 to float16" in text
    assert number(float(np.finfo(np.float16).max)) in text


@pytest.mark.parametrize(
    ("fun", "arguments", "kind", "words"),
    [
        (lax.mul, (jnp.array([0.0]), jnp.array([jnp.inf])), "nan", "0 · Inf is NaN"),
        (lax.sub, (jnp.array([jnp.inf]),) * 2, "nan", "Inf − Inf is NaN"),
        (lax.add, (jnp.array([jnp.inf]), -jnp.array([jnp.inf])), "nan", "Inf + (-Inf)"),
        (lax.div, (jnp.array([jnp.inf]),) * 2, "nan", "Inf / Inf is NaN"),
        (lax.div, (jnp.array([-2.0]), jnp.array([0.0])), "inf", "-2 / 0 is -Inf"),
        (lax.rem, (jnp.array([5.0]), jnp.array([0.0])), "nan", "5 divided by 0"),
        (lax.mul, (jnp.array([1e30]), jnp.array([2e30])), "inf", "1e+30 · 2e+30"),
        (lax.add, (jnp.array([3e38]), jnp.array([3e38])), "inf", "3e+38 + 3e+38"),
        (lax.log1p, (jnp.array([-1.0]),), "inf", "log1p(-1) is -Inf"),
        (lax.rsqrt, (jnp.array([0.0]),), "inf", "rsqrt(0)"),
        (lax.cos, (jnp.array([jnp.inf]),), "nan", "cos of Inf"),
        (lax.acosh, (jnp.array([0.5]),), "nan", "arccosh(0.5)"),
        (lax.atanh, (jnp.array([1.5]),), "nan", "arctanh(1.5)"),
        (lax.asin, (jnp.array([-1.5]),), "nan", "arcsin(-1.5)"),
        (lax.sinh, (jnp.array([100.0]),), "inf", "sinh(100) overflows"),
        (lax.lgamma, (jnp.array([0.0]),), "inf", "lgamma(0) is Inf"),
        (lax.digamma, (jnp.array([-1.0]),), "nan", "digamma put out NaN"),
    ],
)
def test_each_kind_is_named(
    fun: Any, arguments: tuple[Any, ...], kind: str, words: str
) -> None:
    assert words in cause(fun, *arguments, kind=kind)


def test_a_finite_output_is_said_to_be_perhaps_wrong() -> None:
    found = birth(lax.exp, jnp.array([100.0]), kind="inf")
    assert "No NaN or Inf reaches the output" in explain(found, reaches_output=False)[0]
    assert "No NaN" not in explain(found, reaches_output=True)[0]


def test_advice_stands_in_for_a_rewrite_where_the_source_is_unknown() -> None:
    found = birth(lax.exp, jnp.array([100.0]), kind="inf")
    assert "logsumexp" in explain(found, reaches_output=True)[1]


@pytest.mark.parametrize(
    "fun", [lax.exp, lax.log, lax.sqrt, lambda x: lax.div(x, x), lambda x: x * jnp.inf]
)
def test_random_keys_and_scalars_do_no_harm(fun: Any) -> None:
    for value in (0.0, -1.0, 200.0, math.inf):
        found = birth(fun, jnp.float32(value))
        for kind, test in (("nan", np.isnan), ("inf", np.isinf)):
            bad = test(found.result)
            if bad.any():
                text, _ = explain(
                    found._replace(kind=kind, bad=bad),  # type: ignore[arg-type]
                    reaches_output=True,
                )
                assert text.endswith(".")


def of(fun: Any, *arguments: Any) -> tuple[str, str]:
    """The cause and the rewrite of a whole autopsy."""
    found = autopsy(fun, *arguments)
    assert found is not None
    return found.cause, found.rewrite


@pytest.mark.parametrize(
    "fun", [jnp.linalg.inv, lambda a: jnp.linalg.solve(a, jnp.ones(2))]
)
def test_a_singular_matrix_is_called_so(fun: Any) -> None:
    matrix = np.array([[1, 2], [2, 4]], np.float32)
    assert np.linalg.matrix_rank(matrix) == 1
    assert of(fun, matrix)[0].startswith("the matrix is singular")


def test_a_solver_without_a_matrix_says_less() -> None:
    def fun(b: Any) -> Any:
        return jax.scipy.sparse.linalg.cg(lambda v: v * 0.0, b)[0]

    assert "singular, or nearly so" in of(fun, jnp.ones(2))[0]


def test_complex_numbers_are_printed_and_never_bounded() -> None:
    text, advice = of(lambda z: jnp.exp(z), jnp.array([100 + 1j]))
    assert text.startswith("exp(100 + 1j) overflows complex64")
    assert "maximum" not in advice and "minimum" not in advice
    text, advice = of(lambda z: jnp.log(z), jnp.array([0j]))
    assert text == "log(0) is -Inf." and "maximum" not in advice
    assert "(1 - 2j) / 0" in of(lambda z: z / (z - z), jnp.array([1 - 2j]))[0]
    assert "(0 + 1j) is NaN" in of(lambda z: jnp.exp(z) * 1j, jnp.array([100 + 0j]))[0]


def test_an_infinite_constant_is_told_from_one_that_overflowed() -> None:
    beyond = -1e9
    with np.errstate(over="ignore"):
        product = of(lambda m: m * beyond, jnp.zeros(1, jnp.float16))[0]
    assert "every number beyond 6.55e+04 becomes one in float16" in product
    written = of(lambda m: m * -jnp.inf, jnp.zeros(1, jnp.float16))[0]
    assert "the Inf is a constant or an argument" in written


@pytest.mark.parametrize(
    "fun", [lambda x: jnp.where(x > 0, x, jnp.nan), lambda x: x * jnp.nan]
)
def test_a_nan_that_was_written_was_not_made(fun: Any) -> None:
    text, _ = of(fun, jnp.array([1.0, -1.0]))
    assert text.startswith("NaN stands in the program on this line")


def test_a_nan_given_on_another_line_is_called_a_constant() -> None:
    def fun(x: Any) -> Any:
        held = jnp.full((2, 2), jnp.nan)
        return held @ x

    assert "a constant of the program that is used here" in of(fun, jnp.ones(2))[0]


def test_an_epsilon_that_float16_keeps_is_not_blamed() -> None:
    half = jnp.zeros(1, jnp.float16)
    assert "rounds to 0" in of(lambda v: lax.rsqrt(v + 1e-8), half)[0]
    assert autopsy(lambda v: v / (v + 1e-4), half) is None
    assert "rounds to 0" not in of(lambda v: v / (v + 0 * v), half)[0]


def test_a_half_precision_gradient_that_overflows_speaks_of_the_loss_scale() -> None:
    def loss(w: Any, scale: Any) -> Any:
        return scale * jnp.square(w * jnp.float16(60)).sum()

    w = jnp.full(3, 0.5, jnp.float16)
    found = autopsy(jax.grad(loss), w, jnp.float16(2**8), look_for="any")
    assert found is not None and found.direction == "backward"
    assert "if the loss is scaled, the scale is too large" in found.cause
    assert found.rewrite.startswith("lower the loss scale and skip a step")
    ahead = autopsy(loss, w, jnp.float16(2**15), look_for="any")
    assert ahead is not None and ahead.direction == "forward"
    assert "scale is too large" not in ahead.cause
    assert autopsy(jax.grad(loss), w, jnp.float16(2**4), look_for="any") is None


def test_elements_of_operands_are_shown_only_where_they_made_those_of_the_result() -> (
    None
):
    square = jnp.zeros((2, 2)).at[1, 1].set(2e38)
    found = autopsy(lambda a, b: a @ b, square, square, look_for="any")
    assert found is not None and found.elements == ((1, 1),)
    assert [operand.values for operand in found.operands] == [(), ()]
    assert (found.operands[0].low, found.operands[0].high) == (0.0, float(square.max()))
    found = autopsy(lambda a, b: a * b, square, square, look_for="any")
    assert found is not None
    assert [operand.values for operand in found.operands] == [
        (float(square[1, 1]),)
    ] * 2


def test_a_reciprocal_whose_square_underflows_says_so() -> None:
    def ratio(x: Any) -> Any:
        return (jnp.float32(1e-30) / x).sum()

    x = np.float32(1.025e-19)
    assert 1 / float(x) ** 2 < np.finfo(np.float32).max
    assert float(x) ** 2 < np.finfo(np.float32).smallest_normal
    text, advice = of(jax.grad(ratio), jnp.full(2, x))
    assert "x² is below 1.2e-38, the smallest normal number of float32" in text
    assert "where" not in advice
    small = np.float32(4e-20)
    assert float(small) ** 2 * float(np.finfo(np.float32).max) < 1
    assert (
        "is Inf at x = 4e-20 in float32" in of(jax.grad(ratio), jnp.full(2, small))[0]
    )
