"""Custom rules, right and wrong, each planted at a known line."""

import functools
import inspect
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nndiag import check_grads
from nndiag.gradcheck.rules import examine_rules

X = np.linspace(-2, 2, 8).astype(np.float32)


def find_guilty_rule(fn, *args):
    return next(iter(examine_rules(fn, *args).guilty), None)


def ruled(function, backward):
    """`function` with a custom reverse rule of (x,) and the cotangent."""
    made = jax.custom_vjp(function)
    made.defvjp(lambda x: (function(x), (x,)), backward)
    return made


def line_of(function):
    return inspect.getsourcelines(function)[1]


def softplus(x):
    return jnp.log1p(jnp.exp(x))


def doubled(args, g):
    return (2 * g * jax.nn.sigmoid(args[0]),)


def right(args, g):
    return (g * jax.nn.sigmoid(args[0]),)


wrong_softplus = ruled(softplus, doubled)
right_softplus = ruled(softplus, right)

PROGRAMS = {
    "alone": lambda f: lambda x: f(x).sum(),
    "jit": lambda f: jax.jit(lambda x: f(x).sum()),
    "remat": lambda f: jax.checkpoint(lambda x: f(x).sum()),
    "vmap": lambda f: lambda x: jax.vmap(f)(x).sum(),
    "scan": lambda f: (
        lambda x: jax.lax.scan(
            lambda c, r: (f(c) * r, c.sum()), x, jnp.arange(20, dtype=x.dtype) / 20
        )[0].sum()
    ),
    "while": lambda f: (
        lambda x: jax.lax.while_loop(
            lambda c: c[0] < 3, lambda c: (c[0] + 1, f(c[1])), (0, x)
        )[1].sum()
    ),
    "fori": lambda f: lambda x: jax.lax.fori_loop(0, 3, lambda i, c: f(c), x).sum(),
    "cond": lambda f: lambda x: jax.lax.cond(x[0] < 0, f, jnp.cos, x).sum(),
    "nested": lambda f: jax.jit(
        lambda x: jax.lax.scan(lambda c, _: (jax.jit(f)(c), None), x, length=2)[0].sum()
    ),
}


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_guilty_rule_is_found_wherever_the_program_calls_it(kind):
    rule = find_guilty_rule(PROGRAMS[kind](wrong_softplus), X)
    assert rule is not None
    assert (rule.name, rule.kind) == ("softplus", "custom_vjp")
    assert Path(rule.file).name == Path(__file__).name
    assert rule.line == line_of(doubled)
    assert rule.explanation == "with respect to x, it is 2 times the derivative"


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_right_rule_is_not_guilty(kind):
    found = examine_rules(PROGRAMS[kind](right_softplus), X)
    assert found.guilty == ()
    assert found.notes == ()
    assert found.examined > 0


def test_the_branch_not_taken_is_not_accused():
    def program(x):
        return jax.lax.cond(x[0] > 0, wrong_softplus, jnp.cos, x).sum()

    assert find_guilty_rule(program, X) is None
    assert find_guilty_rule(program, X + 3) is not None


@pytest.mark.parametrize(
    ("wrong_at", "is_seen"), [(0, True), (5, True), (7, True), (9, False), (64, True)]
)
def test_of_a_loop_the_first_eight_iterations_are_seen_and_the_powers_of_two(
    wrong_at, is_seen
):
    def backward(args, g):
        return (jnp.where(args[0] == wrong_at, 2, 1) * g,)

    count = ruled(lambda x: x + 1, backward)

    def scanned(x):
        return jax.lax.scan(lambda c, _: (count(c), None), x, length=70)[0]

    def looped(x):
        return jax.lax.fori_loop(0, 70, lambda i, c: count(c), x)

    def backwards(x):
        rows = jnp.arange(70.0)[::-1]
        return jax.lax.scan(lambda c, r: (c + count(r), None), x, rows, reverse=True)[0]

    for program in (scanned, looped, backwards):
        assert (find_guilty_rule(program, 0.0) is not None) == is_seen


WRONG = {
    "the negative of the derivative": lambda a, g: (-g * jnp.cos(a[0]),),
    "zero: nothing flows back": lambda a, g: (0 * g,),
    "at [3], where it is 1.01 times": lambda a, g: (
        g * jnp.cos(a[0]) * jnp.where(jnp.arange(8) == 3, 1.01, 1),
    ),
    "not the derivative": lambda a, g: (g * jnp.sin(a[0]),),
}


@pytest.mark.parametrize("words", WRONG)
def test_what_is_wrong_is_said(words):
    rule = find_guilty_rule(
        lambda x: ruled(lambda x: jnp.sin(x), WRONG[words])(x).sum(), X
    )
    assert rule is not None
    assert words in rule.explanation


def test_values_that_are_not_finite_are_passed_over():
    def grown(x):
        return jax.lax.fori_loop(0, 8, lambda i, c: right_softplus(c**9), x).sum()

    assert examine_rules(grown, 10 * X).guilty == ()


def test_the_line_of_a_jvp_rule():
    @jax.custom_jvp
    def cube(x):
        return x**3

    @cube.defjvp
    def cube_jvp(primals, tangents):
        return primals[0] ** 3, 2 * primals[0] ** 2 * tangents[0]

    rule = find_guilty_rule(lambda x: cube(x).sum(), X)
    assert rule is not None
    assert (rule.name, rule.kind) == ("cube", "custom_jvp")
    lines = Path(__file__).read_text("utf-8").splitlines()
    assert "@cube.defjvp" in lines[rule.line - 1]


def test_with_defjvps_the_line_of_the_wrong_operand():
    @jax.custom_jvp
    def product(x, y):
        return x * jnp.exp(y)

    def first(t, out, x, y):
        return t * jnp.exp(y)

    def second(t, out, x, y):
        return t * jnp.exp(y)

    product.defjvps(first, second)
    rule = find_guilty_rule(lambda x, y: product(x, y).sum(), X, X)
    assert rule is not None
    assert rule.line == line_of(second) != line_of(first)
    assert rule.explanation.startswith("with respect to y, ")


def test_rules_behind_partial_and_callable_objects():
    class Backward:
        def __call__(self, args, g):
            return doubled(args, g)

    for backward, line in (
        (functools.partial(lambda k, a, g: (k * g * jnp.cos(a[0]),), 2.0), None),
        (Backward(), line_of(Backward.__call__)),
    ):
        rule = find_guilty_rule(ruled(softplus, backward), X[0])
        assert rule is not None
        assert rule.line == line if line else rule.line > 0


def test_static_arguments_are_no_operands():
    @functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
    def power(x, n):
        return x**n

    power.defvjp(lambda x, n: (x**n, x), lambda n, x, g: (n * x**n * g,))
    rule = find_guilty_rule(lambda x: jnp.sum(power(x, 3)), X)
    assert rule is not None
    assert "with respect to x" in rule.explanation


def test_conventions_at_kinks_are_no_fault():
    @jax.custom_vjp
    def relu(x):
        return jnp.maximum(x, 0)

    relu.defvjp(lambda x: (relu(x), x), lambda x, g: (g * (x > 0),))
    at_zero = np.array([-1.0, 0.0, 1.0, 0.0])
    assert examine_rules(lambda x: relu(x).sum(), at_zero).guilty == ()
    wrong = ruled(lambda x: jnp.maximum(x, 0), lambda a, g: (g * (a[0] < 0),))
    assert find_guilty_rule(lambda x: jnp.sum(wrong(x)), at_zero) is not None


def test_a_rule_that_mends_a_function_is_right():
    safe = ruled(
        lambda x: jnp.where(x > 0, jnp.sqrt(x), 0),
        lambda a, g: (jnp.where(a[0] > 0, g / 2 / jnp.sqrt(jnp.abs(a[0])), 0),),
    )
    assert examine_rules(lambda x: jnp.sum(safe(x)), X).guilty == ()


def test_the_rules_of_jax_and_optax_are_taken_as_they_are():
    def program(x):
        x = jax.nn.relu(x) + jax.nn.silu(x) + jax.nn.relu6(x)
        return (
            jax.nn.logsumexp(x) + optax.safe_norm(x, 1e-3) + jnp.logaddexp(x, 0).sum()
        )

    assert examine_rules(program, 0 * X) == ((), {}, (), frozenset(), 0)


def test_a_straight_through_rule_is_a_note():
    through = ruled(lambda x: jnp.round(x), lambda a, g: (g,))
    found = examine_rules(lambda x: through(x).sum(), X)
    assert found.guilty == ()
    assert len(found.deliberate) == 1 and not found.notes
    assert "straight-through" in next(iter(found.deliberate.values()))
    line = line_of(test_a_straight_through_rule_is_a_note) + 1
    assert f"{Path(__file__).name}:{line} is" in next(iter(found.deliberate.values()))
    zero = ruled(lambda x: jnp.round(x), lambda a, g: (0 * g,))
    assert examine_rules(lambda x: zero(x).sum(), X).deliberate == {}


def test_clipping_on_the_way_back_is_named():
    clip = ruled(lambda x: x * 1.0, lambda a, g: (jnp.clip(g, -5, 5),))
    rule = find_guilty_rule(lambda x: clip(x).sum(), X)
    assert rule is not None
    assert "not linear in the cotangent" in rule.explanation


def test_half_precision_inside_a_right_rule_is_no_fault():
    half = ruled(
        lambda x: jnp.sin(x.astype(jnp.bfloat16)),
        lambda a, g: ((g * jnp.cos(a[0].astype(jnp.bfloat16))).astype(a[0].dtype),),
    )
    assert examine_rules(lambda x: half(x).sum(), X).guilty == ()


def test_integer_and_several_operands():
    @jax.custom_vjp
    def pick(table, rows, scale):
        return table[rows] * scale

    def backward(args, g):
        table, rows, scale = args
        gradient = jnp.zeros_like(table).at[rows].set(g * scale)  # should add
        return gradient, None, (g * table[rows]).sum()

    pick.defvjp(
        lambda table, rows, s: (pick(table, rows, s), (table, rows, s)), backward
    )
    table = np.arange(6.0)

    def program(t, rows):
        return pick(t, rows, 2.0).sum()

    assert find_guilty_rule(program, table, np.array([0, 3, 5])) is None
    rule = find_guilty_rule(program, table, np.array([0, 3, 3]))
    assert rule is not None
    assert rule.line == line_of(backward)
    assert "with respect to table" in rule.explanation


def test_a_rule_that_rounds_to_few_digits_is_wrong_and_a_saturated_one_is_not():
    def rounded(dtype):
        @jax.custom_vjp
        def sine(x):
            return jnp.sin(x)

        def backward(x, cotangent):
            return ((cotangent * jnp.cos(x)).astype(dtype).astype(x.dtype),)

        sine.defvjp(lambda x: (sine(x), x), backward)
        return lambda x: (sine(x) * jnp.arange(1.0, 7.0)).sum()

    x = jnp.linspace(-1.0, 1.0, 6)
    found = check_grads(rounded(jnp.bfloat16), x)
    assert found.ok is False
    assert "rounded to bfloat16 precision" in found.leaves[0].explanation
    assert found.rule is not None
    assert found.rule.name == "sine"
    assert check_grads(rounded(jnp.float32), x).ok
    assert check_grads(lambda x: jnp.tanh(jax.nn.silu(9 + x)).sum(), x).ok
