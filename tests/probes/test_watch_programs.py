"""Programs of other shapes than one network, one loss, one gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nndiag.probes import watch


def same_bits(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in pairs)


def descend(loss, params, rate=0.1):
    value, gradient = jax.value_and_grad(loss)(params)
    return jax.tree.map(lambda p, g: p - rate * g, params, gradient), value


@pytest.mark.parametrize("shapes", [((4, 5), (4, 1)), ((4, 4), (4, 4))])
def test_two_networks_whose_parameters_have_the_same_names(shapes):
    keys = jax.random.split(jax.random.key(0), 3)
    one = {"w": jax.random.normal(keys[0], shapes[0])}
    two = {"w": jax.random.normal(keys[1], shapes[1])}
    x = jax.random.normal(keys[2], (8, 4))

    def step(one, two, x):
        one, a = descend(lambda p: jnp.square(jnp.tanh(x @ p["w"]) - 1).mean(), one)
        two, b = descend(
            lambda p: 3 * jnp.square(jnp.tanh(x @ p["w"])).mean(), two, 0.2
        )
        return one, two, a + b

    (after_one, after_two, _), readings = jax.jit(watch(step))(one, two, x)
    assert same_bits((after_one, after_two), jax.jit(step)(one, two, x)[:2])
    for name, before, after in (("w", one, after_one), ("w#2", two, after_two)):
        norm = np.linalg.norm(np.asarray(after["w"]) - np.asarray(before["w"]))
        assert float(readings.update[name].norm) == pytest.approx(norm, rel=1e-5)
        assert float(readings.update[name].cosine) == pytest.approx(1, abs=1e-5)
    assert {"tanh", "tanh#2"} <= set(readings.value)
    assert set(readings.cotangent) == {"tanh", "tanh#2"}


def test_a_jitted_gradient_called_twice():
    @jax.jit
    def gradient(w, x):
        return jax.grad(lambda w: jnp.tanh(x @ w).sum())(w)

    def step(w, x):
        return w - gradient(w, x) - 2 * gradient(w, 3 * x)

    w, x = jnp.full(2, 0.1), jnp.ones((3, 2))
    _, readings = jax.jit(watch(step))(w, x)
    first, second = gradient(w, x), gradient(w, 3 * x)
    assert float(readings.gradient["parameter"].norm) == pytest.approx(
        float(jnp.linalg.norm(first))
    )
    assert float(readings.gradient["parameter#2"].norm) == pytest.approx(
        float(jnp.linalg.norm(second))
    )


@pytest.mark.parametrize("taken", [True, False])
def test_a_gradient_in_a_branch_is_missing_when_it_is_not_taken(taken):
    def step(w, x, train):
        return jax.lax.cond(
            train,
            lambda w: w - jax.grad(lambda w: jnp.tanh(x @ w).sum())(w),
            lambda w: w,
            w,
        )

    _, readings = jax.jit(watch(step))(jnp.ones(2), jnp.ones((3, 2)), taken)
    assert readings.finite == 1
    assert np.isfinite(float(readings.gradient["parameter"].norm)) == taken


def test_a_nan_in_the_branch_taken_is_not_finite():
    def step(w, x, train):
        return jax.lax.cond(
            train,
            lambda w: w - jax.grad(lambda w: jnp.log(x @ w).sum())(w),
            lambda w: w,
            w,
        )

    _, readings = jax.jit(watch(step))(-jnp.ones(2), jnp.ones((3, 2)), True)
    assert readings.finite == 0


def test_debug_nans_does_not_trip_over_a_branch_not_taken():
    def step(w, x):
        def loss(w):
            return jax.lax.cond(
                x[0, 0] > 0,
                lambda: jnp.tanh(x @ w).sum(),
                lambda: jax.nn.relu(x @ w).sum(),
            )

        return jax.grad(loss)(w)

    w, x = jnp.ones(2), jnp.ones((3, 2))
    with jax.debug_nans(True), pytest.warns(UserWarning, match="evaluated cond"):
        gradient, _ = jax.jit(watch(step))(w, x)
    np.testing.assert_allclose(gradient, jax.grad(lambda w: jnp.tanh(x @ w).sum())(w))


def minimise(w, x, steps):
    """Gradient descent for a number of steps that is known when it runs."""

    def body(state):
        i, w = state
        w, _ = descend(lambda w: jnp.square(jnp.tanh(x @ w)).sum(), w)
        return i + 1, w

    return jax.lax.while_loop(lambda state: state[0] < steps, body, (0, w))[1]


@pytest.mark.parametrize("jitted", [True, False])
def test_a_while_loop_reads_as_its_last_iteration(jitted):
    w, x = jnp.array([0.5, -1.0]), jnp.ones((3, 2)) / 2
    run = jax.jit(watch(minimise)) if jitted else watch(minimise)
    after, readings = run(w, x, 4)
    assert same_bits(after, jax.jit(minimise)(w, x, 4))
    before, last = (np.asarray(jax.jit(minimise)(w, x, n), np.float64) for n in (3, 4))
    pre = np.asarray(x, np.float64) @ before
    gradient = 2 * np.asarray(x).T @ (np.tanh(pre) * (1 - np.tanh(pre) ** 2))
    expected = pytest.approx(np.linalg.norm(gradient), rel=1e-5)
    assert float(readings.gradient["parameter"].norm) == expected
    assert float(readings.loss) == pytest.approx(
        np.square(np.tanh(pre)).sum(), rel=1e-5
    )
    norm = float(readings.update["parameter"].norm)
    assert norm == pytest.approx(np.linalg.norm(last - before), rel=1e-4)
    assert readings.finite == 1


def test_a_while_loop_that_does_not_run_read_nothing():
    _, readings = jax.jit(watch(minimise))(jnp.ones(2), jnp.ones((3, 2)), 0)
    assert np.isnan(readings.gradient["parameter"].norm)


def test_debug_nans_does_not_trip_over_a_loop_that_does_not_run():
    def step(w, x, steps):
        return minimise(w, x, steps), jax.grad(lambda w: (x @ w).sum())(w)

    with jax.debug_nans(True), pytest.warns(UserWarning, match="while in step whole"):
        (after, _), _ = jax.jit(watch(step))(jnp.ones(2), jnp.ones((3, 2)), 0)
    assert (after == jnp.ones(2)).all()


def test_one_bad_iteration_of_a_while_loop_is_not_finite():
    def step(w):
        def body(state):
            i, w = state
            g = jax.grad(lambda w: jnp.where(i == 1, jnp.inf, 1.0) * w.sum())(w)
            return i + 1, w - jnp.where(jnp.isfinite(g), g, 0)

        return jax.lax.while_loop(lambda state: state[0] < 3, body, (0, w))[1]

    _, readings = jax.jit(watch(step))(jnp.ones(2))
    assert readings.finite == 0


def test_gradients_accumulated_in_two_scans_of_different_length():
    def loss(w, x):
        return jnp.tanh(x @ w).mean()

    def accumulate(w, xs):
        total, _ = jax.lax.scan(
            lambda g, x: (g + jax.grad(loss)(w, x), None), 0 * w, xs
        )
        return total / len(xs)

    def step(w, a, b):
        return w - accumulate(w, a) - accumulate(w, b)

    w = jnp.ones(2)
    a = jax.random.normal(jax.random.key(0), (3, 4, 2))
    b = jax.random.normal(jax.random.key(1), (5, 4, 2))
    after, readings = jax.jit(watch(step))(w, a, b)
    np.testing.assert_allclose(after, step(w, a, b), rtol=1e-6)
    assert readings.finite.shape == ()
    per_batch = [float(jnp.linalg.norm(jax.grad(loss)(w, x))) for x in a]
    np.testing.assert_allclose(
        readings.gradient["parameter"].norm, per_batch, rtol=1e-5
    )
    assert readings.gradient["parameter#2"].norm.shape == (5,)


def test_a_normalisation_is_no_activation():
    def normalise(x):
        mean = x.mean(-1, keepdims=True)
        variance = jnp.maximum(0.0, jnp.square(x).mean(-1, keepdims=True) - mean**2)
        return (x - mean) * jax.lax.rsqrt(variance + 1e-6)

    def step(params, x):
        def loss(p):
            hidden = jax.nn.gelu(normalise(x @ p["a"]))
            return jnp.square(hidden @ p["b"] - 1).mean()

        return descend(loss, params)

    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (4, 3))
    params = {
        "a": jax.random.normal(keys[1], (3, 8)),
        "b": jax.random.normal(keys[2], (8, 1)),
    }
    _, readings = jax.jit(watch(step))(params, x)
    assert [s.function for s in readings.value if s.kind == "activation"] == ["gelu"]


def test_a_tap_used_twice_keeps_value_and_cotangent_together():
    from nndiag import tap

    def step(w, x):
        def loss(w):
            return 10 * tap(tap(x @ w, "h") * 2, "h").sum()

        return jax.grad(loss)(w)

    _, readings = jax.jit(watch(step))(jnp.ones(2), jnp.ones((3, 2)))
    assert float(readings.value["h"].mean) == 2
    assert float(readings.cotangent["h"].norm) == pytest.approx(20 * 3**0.5)
    assert float(readings.value["h#2"].mean) == 4
    assert float(readings.cotangent["h#2"].norm) == pytest.approx(10 * 3**0.5)


@pytest.mark.parametrize(
    "pack",
    [
        lambda w, loss: (loss, w),
        lambda w, loss: {"loss": loss, "state": w},
        lambda w, loss: ((w, {}), loss),
    ],
)
def test_the_next_value_of_a_parameter_is_found_by_what_it_depends_on(pack):
    def step(w, x):
        w, loss = descend(lambda w: jnp.square(w * x - 1).mean(), w)
        return pack(w, loss)

    w, x = jnp.asarray(2.0), jnp.arange(3.0)
    _, readings = jax.jit(watch(step))(w, x)
    gradient = (2 * x * (w * x - 1)).mean()
    norm = float(readings.update["parameter"].norm)
    assert norm == pytest.approx(0.1 * float(gradient), rel=1e-6)


def test_parameters_handed_back_unchanged_have_a_zero_update():
    def step(w, x):
        jax.grad(lambda w: jnp.tanh(x @ w).sum())(w)
        return w, jax.grad(lambda w: jnp.tanh(x @ w).sum())(w).sum()

    _, readings = jax.jit(watch(step))(jnp.ones(2), jnp.ones((3, 2)))
    assert readings.update["parameter"].norm == 0


def test_a_fault_of_nndiag_leaves_the_output_and_warns(monkeypatch):
    def broken(*args, **options):
        raise RuntimeError("a broken probe")

    monkeypatch.setattr("nndiag.probes.statistics.describe_value", broken)

    def step(w, x):
        return descend(lambda w: jnp.tanh(x @ w).sum(), w)

    with pytest.warns(UserWarning, match="could not watch step.*a broken probe"):
        output, readings = jax.jit(watch(step))(jnp.ones(2), jnp.ones((3, 2)))
    assert same_bits(output, jax.jit(step)(jnp.ones(2), jnp.ones((3, 2))))
    assert not readings.gradient


def test_an_error_of_the_program_is_its_own():
    def step(w, x):
        return descend(lambda w: (x @ w).sum() + undefined, w)  # noqa: F821

    with pytest.raises(NameError, match="undefined"):
        jax.jit(watch(step))(jnp.ones(2), jnp.ones((3, 2)))


def test_layers_inside_a_custom_rule_are_said_not_to_be_seen():
    @jax.custom_vjp
    def layer(w, x):
        return jnp.tanh(x @ w)

    layer.defvjp(
        lambda w, x: (layer(w, x), (w, x)),
        lambda kept, ct: (kept[1].T @ ct, ct[:, None] * kept[0]),
    )

    def step(w, x):
        return jax.grad(lambda w: layer(w, x).sum())(w)

    with pytest.warns(UserWarning, match="custom_vjp_call in the loss whole"):
        jax.jit(watch(step))(jnp.ones(2), jnp.ones((3, 2)))


def test_the_gate_of_experts_is_not_what_the_loss_reads():
    def step(p, x):
        def loss(p):
            gate = jax.nn.softmax(x @ p["router"])
            mixed = jnp.einsum("be,ehk,bh->bk", gate, p["experts"], x)
            return jnp.square(jnp.tanh(mixed) @ p["out"] - 1).mean()

        return descend(loss, p)

    keys = jax.random.split(jax.random.key(0), 4)
    p = {
        "router": jax.random.normal(keys[0], (6, 3)),
        "experts": jax.random.normal(keys[1], (3, 6, 5)),
        "out": jax.random.normal(keys[2], (5, 2)),
    }
    _, readings = jax.jit(watch(step))(p, jax.random.normal(keys[3], (8, 6)))
    assert "logits" not in readings.value
    assert "tanh" in readings.value


def test_an_activation_after_a_layer_with_its_own_rule_is_seen():
    @jax.custom_vjp
    def dense(w, x):
        return x @ w

    dense.defvjp(
        lambda w, x: (x @ w, (w, x)),
        lambda kept, ct: (kept[1].T @ ct, ct @ kept[0].T),
    )

    def step(w, x):
        return jax.grad(lambda w: jnp.tanh(dense(w, x)).sum())(w)

    _, readings = jax.jit(watch(step))(jnp.ones((2, 4)), jnp.ones((3, 2)))
    assert set(readings.cotangent) == {"tanh"}
    assert float(readings.value["tanh"].mean) == pytest.approx(np.tanh(2))


def test_empty_arrays_are_left_out():
    def step(params, x):
        return descend(
            lambda p: (x @ p["w"]).sum() + p["none"].sum() + (x[:0] @ p["w"]).sum(),
            params,
        )

    params = {"w": jnp.ones(2), "none": jnp.zeros((0, 3))}
    _, readings = jax.jit(watch(step))(params, jnp.ones((3, 2)))
    assert set(readings.gradient) == {"w"}
