"""Right gradients are called right, wrong ones wrong, at the element that is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nndiag.errors import ProgramError, SettingError
from nndiag.gradcheck import check_grads

DTYPES = ["float32", "bfloat16", "float16"]


def network(params, x, y, activation=jax.nn.tanh):
    (w, b), (v, c) = params
    logits = activation(x @ w + b) @ v + c
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1))


def parameters(scale=1.0, dtype=np.float32, seed=0):
    random = np.random.default_rng(seed)

    def layer(rows, columns):
        w = random.normal(size=(rows, columns)) * scale / rows**0.5
        return jnp.asarray(w, dtype), jnp.asarray(
            random.normal(size=columns) * 0.1, dtype
        )

    return [layer(6, 5), layer(5, 3)]


def batch(dtype=np.float32):
    random = np.random.default_rng(1)
    return jnp.asarray(random.normal(size=(4, 6)), dtype), jnp.arange(4) % 3


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["relu", "gelu", "softplus", "silu"])
def test_a_right_network_is_right_in_every_dtype(name, dtype):
    def loss(params, x, y):
        return network(params, x, y, getattr(jax.nn, name))

    check = check_grads(loss, parameters(dtype=dtype), *batch(dtype), argnums=0)
    assert check.ok, check
    assert all(leaf.error_bound < 1e-4 * leaf.norm for leaf in check.leaves[:4])
    assert check.forward_reverse is not None
    assert check.forward_reverse.agree


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3, 1e6])
def test_tiny_and_saturated_networks_are_never_wrong(scale):
    for name in ("tanh", "sigmoid", "relu"):

        def loss(params, x, y, name=name):
            return network(params, x, y, getattr(jax.nn, name))

        check = check_grads(loss, parameters(scale), *batch(), argnums=0)
        assert check.ok is not False, (name, check)


@pytest.mark.parametrize("factor", [-1.0, 0.5, 2.0, 1.01, 128.0])
def test_a_constant_factor_is_found_in_every_leaf_and_named(factor):
    def gradient(params, x, y):
        return jax.tree.map(lambda g: factor * g, jax.grad(network)(params, x, y))

    check = check_grads(network, parameters(), *batch(), gradient=gradient)
    assert check.ok is False
    assert [leaf.verdict for leaf in check.leaves[:4]] == ["wrong"] * 4
    assert [finding.code for finding in check.findings] == ["ND501"]


@pytest.mark.parametrize("index", [(0, 0), (3, 2), (5, 4)])
def test_one_element_off_by_a_percent_is_found(index):
    def gradient(params, x, y):
        (w, b), second = jax.grad(network)(params, x, y)
        return [(w.at[index].multiply(1.01), b), second]

    check = check_grads(network, parameters(), *batch(), gradient=gradient)
    first, *others = check.leaves
    assert (first.verdict, first.worst_index) == ("wrong", index)
    assert len(first.wrong) == 1
    assert first.wrong[0].given == pytest.approx(
        1.01 * first.wrong[0].expected, rel=1e-5
    )
    assert {leaf.verdict for leaf in others} <= {"right", "skipped"}


def test_a_numpy_gradient_in_float64_is_checked_in_float64():
    def loss(w, x):
        return jnp.mean(jnp.log1p(jnp.exp(x @ w)))

    def gradient(w, x):
        return x.T @ (1 / (1 + np.exp(-(x @ w)))) / len(x)

    x = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    w = np.ones(3, np.float32)
    assert check_grads(loss, w, x, gradient=gradient).ok
    bad = check_grads(loss, w, x, gradient=lambda w, x: gradient(w, x) + 1e-7)
    assert bad.ok is False


def test_a_wrong_custom_rule_is_wrong_and_named():
    @jax.custom_vjp
    def cube(x):
        return x**3

    cube.defvjp(lambda x: (x**3, x), lambda x, g: (2 * x**2 * g,))
    check = check_grads(lambda x: cube(x).sum(), jnp.arange(1.0, 4.0))
    assert check.ok is False
    assert check.rule is not None
    assert check.rule.name == "cube"


def test_random_numbers_and_casts_are_those_of_the_users_dtype():
    def loss(w):
        keep = jax.random.bernoulli(jax.random.key(0), 0.5, (64,))
        noise = jax.random.normal(jax.random.key(1), (64,))
        return (w * keep).sum() + (noise * w**2).sum() + jnp.finfo(w.dtype).eps * w[0]

    assert check_grads(loss, jnp.linspace(-1, 1, 64)).ok


def test_control_flow_is_followed():
    def scanned(w):
        step = jax.checkpoint(lambda c, _: (jnp.tanh(w @ c), None))
        return jax.lax.scan(step, jnp.ones(3), None, length=4)[0].sum()

    def chosen(w):
        return jax.lax.cond(w[0, 0] > 0, lambda v: (v**2).sum(), jnp.sum, w)

    w = 0.4 * jnp.eye(3) + 0.1
    assert check_grads(scanned, w, order=2).ok
    assert check_grads(chosen, w).ok
    assert check_grads(
        lambda v: jax.lax.fori_loop(0, 3, lambda _, c: c @ v, v).sum(), w
    ).ok


def test_the_second_order_is_checked():
    check = check_grads(
        lambda x: (jnp.sin(x) * x[0]).sum(), jnp.arange(1.0, 5.0), order=2
    )
    assert check.ok
    assert check.hessian is not None
    assert check.hessian < 1e-6

    @jax.custom_vjp
    def square(x):
        return x**2

    # Right to first order; its own derivative is not.
    rule = jax.custom_vjp(lambda x: 2 * x)
    rule.defvjp(lambda x: (2 * x, None), lambda _, g: (3 * g,))
    square.defvjp(lambda x: (x**2, x), lambda x, g: (g * rule(x),))
    point = jnp.arange(1.0, 4.0)
    assert check_grads(lambda x: square(x).sum(), point).ok
    assert check_grads(lambda x: square(x).sum(), point, order=2).ok is False


def test_what_cannot_be_checked_says_why():
    cases = [
        (lambda x: x, (jnp.ones(3),), {}, "one number"),
        (lambda x: (x.sum(), x), (jnp.ones(3),), {}, "has_aux"),
        (lambda x: x.sum(), (jnp.arange(3),), {}, "no floating-point argument"),
        (lambda x: jnp.log(x).sum(), (-jnp.ones(3),), {}, "autopsy"),
        (lambda x: jnp.linalg.norm(x), (jnp.zeros(3),), {}, "NaN"),
        (lambda x: (x * np.random.rand()).sum(), (jnp.ones(3),), {}, "deterministic"),
        (lambda x: x.sum(), (jnp.ones(3),), {"gradient": lambda x: x[:2]}, "structure"),
        (lambda x: x["a"].sum(), (jnp.ones(3),), {}, "raised"),
    ]
    for function, args, options, words in cases:
        with pytest.raises(ProgramError, match=words):
            check_grads(function, *args, **options)
    with pytest.raises(SettingError, match="argument 1"):
        check_grads(jnp.sum, jnp.ones(3), argnums=1)
    with pytest.raises(SettingError, match="modes"):
        check_grads(jnp.sum, jnp.ones(3), modes=("sideways",))
    with pytest.raises(SettingError, match="order"):
        check_grads(jnp.sum, jnp.ones(3), order=3)


def test_a_straight_through_rule_is_undecided_and_never_wrong():
    through = jax.custom_vjp(lambda x: jnp.round(x))
    through.defvjp(lambda x: (jnp.round(x), None), lambda _, g: (g,))
    w = np.array([0.3, 1.7, -2.2])
    check = check_grads(lambda w: (through(w) ** 2).sum(), w)
    assert check.ok is None and check.rule is None
    assert "straight-through" in check.leaves[0].explanation
    assert [finding.code for finding in check.findings] == ["ND502"]
    assert check.forward_reverse.note.endswith("is a custom_vjp")


def test_a_wrong_rule_beside_a_straight_through_one_is_wrong():
    through = jax.custom_vjp(lambda x: jnp.round(x))
    through.defvjp(lambda x: (jnp.round(x), None), lambda _, g: (g,))
    doubled = jax.custom_vjp(jnp.sin)
    doubled.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (2 * g * jnp.cos(x),))
    w = np.array([0.3, 1.7, -2.2])
    check = check_grads(lambda w: (through(w) * doubled(w)).sum(), w)
    assert check.ok is False
    assert check.rule.name == "sin"


def test_the_cause_of_a_wrong_gradient_by_hand_is_told_once():
    def loss(p):
        return (p["a"] ** 2).sum() + (p["b"] ** 3).sum()

    point = {"a": np.arange(1.0, 4.0), "b": np.arange(2.0, 5.0)}
    check = check_grads(
        loss, point, gradient=lambda p: jax.tree.map(jnp.negative, jax.grad(loss)(p))
    )
    assert "−1 times" in check.cause.text or "sign" in check.cause.text
    assert check.findings[0].cause == check.cause.text
    assert check_grads(loss, point).cause is None


def test_a_leaf_that_no_straight_through_rule_touches_is_not_pardoned():
    through = jax.custom_vjp(lambda x: jnp.round(x))
    through.defvjp(lambda x: (jnp.round(x), None), lambda _, g: (g,))
    square = jax.custom_vjp(lambda x: x**2)
    square.defvjp(lambda x: (x**2, x), lambda x, g: (3 * x * g,))
    x, y = np.array([0.3, 1.7]), np.array([0.4, -0.9])
    check = check_grads(lambda x, y: (through(x) * x).sum() + square(y).sum(), x, y)
    assert [leaf.verdict for leaf in check.leaves] == ["undecided", "wrong"]
    assert "1.5 times" in check.rule.explanation


def test_a_relu_rule_without_its_mask_is_no_straight_through_rule():
    relu = jax.custom_vjp(lambda x: jnp.where(x > 0, x, 0))
    relu.defvjp(lambda x: (jnp.where(x > 0, x, 0), None), lambda _, g: (g,))
    assert check_grads(lambda x: relu(x).sum(), np.array([-0.3, -1.7])).ok is False


def test_a_linear_function_that_nearly_cancels_has_no_kink():
    weights = np.random.default_rng(0).normal(size=500)
    weights[:2] = -1e10, 1e10
    x = np.random.default_rng(1).normal(size=500)
    assert not check_grads(lambda x: jnp.dot(weights, x), x).leaves[0].kinks


def test_a_gradient_that_varies_is_refused():
    calls = []

    def gradient(x):
        calls.append(x)
        return len(calls) * 2 * x

    with pytest.raises(ProgramError, match="gradient is not deterministic"):
        check_grads(lambda x: (x**2).sum(), np.ones(3), gradient=gradient)


def test_the_last_digits_of_a_gradient_are_named_as_such():
    def cube(x):
        return (x**3).sum()

    with jax.enable_x64(True):
        found = check_grads(
            cube, np.arange(1.0, 6.0), gradient=lambda x: 3 * x**2 * (1 + 1e-9)
        )
    assert found.ok is False
    assert "off by 1e-09" in found.leaves[0].explanation
