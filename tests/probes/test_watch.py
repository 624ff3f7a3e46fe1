"""`watch` measures what float64 NumPy measures, and changes nothing."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import nndiag
from nndiag.errors import ProgramError, SettingError
from nndiag.probes import Level, watch

SIZES = (6, 5, 4, 3)
BATCH = 8


def make_params(key=0, scale=1.0):
    keys = jax.random.split(jax.random.key(key), len(SIZES))
    return {
        f"layer_{i}": {
            "weight": scale * jax.random.normal(keys[i], (SIZES[i], SIZES[i + 1])),
            "bias": 0.1 * jnp.arange(SIZES[i + 1], dtype=jnp.float32),
        }
        for i in range(len(SIZES) - 1)
    }


def make_batch(key=9):
    a, b = jax.random.split(jax.random.key(key))
    labels = jax.random.randint(b, (BATCH,), 0, SIZES[-1])
    return jax.random.normal(a, (BATCH, SIZES[0])), labels


def forward(params, x, activate=jax.nn.sigmoid):
    for i in range(len(SIZES) - 2):
        with jax.named_scope(f"hidden_{i + 1}"):
            layer = params[f"layer_{i}"]
            x = activate(x @ layer["weight"] + layer["bias"])
    with jax.named_scope("output"):
        layer = params[f"layer_{len(SIZES) - 2}"]
        return x @ layer["weight"] + layer["bias"]


def loss_fn(params, batch):
    x, labels = batch
    logits = forward(params, x)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


# Made before nndiag watches anything, as programs do at the top of a module.
early_grad = jax.value_and_grad(loss_fn)
RATE = 0.5


def step(params, batch):
    loss, gradient = early_grad(params, batch)
    return jax.tree.map(lambda p, g: p - RATE * g, params, gradient), {"loss": loss}


def oracle(params, batch):
    """Float64 forward and backward pass by hand."""
    params = jax.tree.map(lambda p: np.asarray(p, np.float64), params)
    x, labels = np.asarray(batch[0], np.float64), np.asarray(batch[1])
    layers = [params[f"layer_{i}"] for i in range(len(SIZES) - 1)]
    values = [x]
    for layer in layers[:-1]:
        z = values[-1] @ layer["weight"] + layer["bias"]
        values.append(1 / (1 + np.exp(-z)))
    logits = values[-1] @ layers[-1]["weight"] + layers[-1]["bias"]
    exp = np.exp(logits - logits.max(1, keepdims=True))
    probability = exp / exp.sum(1, keepdims=True)
    loss = -np.log(probability[np.arange(BATCH), labels]).mean()
    delta = (probability - np.eye(SIZES[-1])[labels]) / BATCH
    cotangents, gradients = {"logits": delta}, {}
    for i in reversed(range(len(layers))):
        gradients[f"layer_{i}/weight"] = values[i].T @ delta
        gradients[f"layer_{i}/bias"] = delta.sum(0)
        if i > 0:
            cotangent = delta @ layers[i]["weight"].T
            cotangents[f"hidden_{i}/sigmoid"] = cotangent
            delta = cotangent * values[i] * (1 - values[i])
    named = {"input": x, "logits": logits}
    named |= {f"hidden_{i}/sigmoid": values[i] for i in range(1, len(layers))}
    return loss, named, cotangents, gradients


@pytest.fixture(params=["jitted", "not jitted"])
def transformed(request):
    return jax.jit if request.param == "jitted" else lambda f: f


def norms(readings, role):
    return {key: float(s.norm) for key, s in getattr(readings, role).items()}


def approximately(expected):
    return pytest.approx(
        {k: np.linalg.norm(v) for k, v in expected.items()}, rel=2e-5, abs=1e-7
    )


def test_readings_match_float64_numpy(transformed):
    params, batch = make_params(scale=2.0), make_batch()
    (_, metrics), readings = transformed(watch(step))(params, batch)
    loss, values, cotangents, gradients = oracle(params, batch)
    assert float(readings.loss) == pytest.approx(loss, rel=1e-6)
    assert float(metrics["loss"]) == pytest.approx(loss, rel=1e-6)
    assert readings.finite == 1
    assert norms(readings, "value") == approximately(values)
    assert norms(readings, "cotangent") == approximately(cotangents)
    assert norms(readings, "gradient") == approximately(gradients)
    updates = {k: RATE * g for k, g in gradients.items()}
    assert norms(readings, "update") == approximately(updates)
    for key, value in values.items():
        stats = readings.value[key]
        assert float(stats.mean) == pytest.approx(value.mean(), rel=1e-5, abs=1e-6)
        assert float(stats.std) == pytest.approx(value.std(), rel=1e-4)
        assert float(stats.largest) == pytest.approx(np.abs(value).max(), rel=1e-6)
    for key in ("hidden_1/sigmoid", "hidden_2/sigmoid"):
        slope = values[key] * (1 - values[key])
        flat = slope < 0.05 * 0.25
        assert float(readings.value[key].slope) == pytest.approx(slope.mean(), rel=1e-5)
        assert float(readings.value[key].saturated) == pytest.approx(flat.mean())
    for stats in readings.update.values():
        assert float(stats.cosine) == pytest.approx(1, abs=1e-5)


def test_parameters_are_bit_identical(transformed):
    params, batch = make_params(), make_batch()
    bare, watched = params, params
    bare_step, watched_step = transformed(step), transformed(watch(step))
    for _ in range(5):
        bare, _ = bare_step(bare, batch)
        (watched, _), _ = watched_step(watched, batch)
    assert_same_bits(bare, watched)


def assert_same_bits(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def test_sites_say_where_they_are():
    _, readings = jax.jit(watch(step))(make_params(), make_batch())
    sites = {str(s): s for s in readings.value} | {str(s): s for s in readings.gradient}
    hidden = sites["hidden_2/sigmoid"]
    assert (hidden.kind, hidden.scope, hidden.function) == (
        "activation",
        "hidden_2",
        "sigmoid",
    )
    assert hidden.file.endswith(Path(__file__).name)
    assert "sigmoid" in SOURCE[hidden.line - 1] or "activate" in SOURCE[hidden.line - 1]
    assert sites["layer_1/weight"].scope == "hidden_2"
    assert sites["layer_2/bias"].scope == "output"
    assert sites["logits"].kind == "logits"
    assert sites["logits"].shape[-1] == SIZES[-1]
    ordered = sorted(sites.values(), key=lambda s: s.order)
    names = [str(s) for s in ordered if s.kind != "parameter"]
    assert names == ["input", "hidden_1/sigmoid", "hidden_2/sigmoid", "logits"]


SOURCE = Path(__file__).read_text(encoding="utf-8").splitlines()


def test_an_outer_scan_stacks_the_readings():
    params, batch = make_params(), make_batch()
    _, (_, stacked) = jax.lax.scan(
        lambda p, b: (lambda out: (out[0][0], (out[0][1], out[1])))(watch(step)(p, b)),
        params,
        jax.tree.map(lambda leaf: jnp.stack([leaf] * 4), batch),
    )
    single = params
    for i in range(4):
        (single, _), readings = jax.jit(watch(step))(single, batch)
        at_i = float(stacked.gradient["layer_0/weight"].norm[i])
        one = float(readings.gradient["layer_0/weight"].norm)
        assert at_i == pytest.approx(one, rel=1e-6)
    assert stacked.value["hidden_1/sigmoid"].mean.shape == (4,)


def test_a_scan_inside_the_watched_function_is_entered():
    params, batch = make_params(), make_batch()
    batches = jax.tree.map(lambda leaf: jnp.stack([leaf] * 4), batch)

    def epoch(params, batches):
        return jax.lax.scan(step, params, batches)

    (after, _), readings = jax.jit(watch(epoch))(params, batches)
    bare, _ = jax.jit(epoch)(params, batches)
    assert_same_bits(after, bare)
    single = params
    for i in range(4):
        (single, _), one = jax.jit(watch(step))(single, batch)
        for role in ("gradient", "update", "cotangent", "value"):
            stacked = getattr(readings, role)
            for key, stats in getattr(one, role).items():
                assert float(stacked[key].norm[i]) == pytest.approx(
                    float(stats.norm), rel=1e-5
                )


def test_an_outer_vmap_gives_readings_per_member():
    members = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), *[make_params(key) for key in range(3)]
    )
    batch = make_batch()
    _, readings = jax.jit(jax.vmap(watch(step), in_axes=(0, None)))(members, batch)
    for member in range(3):
        loss, _, cotangents, gradients = oracle(make_params(member), batch)
        assert float(readings.loss[member]) == pytest.approx(loss, rel=1e-5)
        for key, gradient in gradients.items():
            norm = float(readings.gradient[key].norm[member])
            assert norm == pytest.approx(np.linalg.norm(gradient), rel=1e-4, abs=1e-7)
        for key, cotangent in cotangents.items():
            norm = float(readings.cotangent[key].norm[member])
            assert norm == pytest.approx(np.linalg.norm(cotangent), rel=1e-4)


def test_per_example_gradients_inside_are_read_as_the_batch():
    params, batch = make_params(), make_batch()

    def per_example(params, batch):
        def one(x, label):
            return jax.grad(loss_fn)(params, (x[None], label[None]))

        gradients = jax.vmap(one)(*batch)
        return jax.tree.map(lambda g: g.mean(0), gradients)

    _, readings = jax.jit(watch(per_example))(params, batch)
    _, values, _, gradients = oracle(params, batch)
    assert norms(readings, "gradient") == approximately(gradients)
    value = values["hidden_1/sigmoid"]
    stats = readings.value["hidden_1/sigmoid"]
    assert float(stats.mean) == pytest.approx(value.mean(), rel=1e-5)


@pytest.mark.parametrize(
    "wrap",
    [
        jax.jit,
        jax.checkpoint,
        lambda f: jax.jit(jax.jit(f)),
        lambda f: (
            lambda p, b: jax.lax.cond(
                b[0][0, 0] < 1e9, f, lambda p, b: 0.0 * b[0][0, 0], p, b
            )
        ),
    ],
    ids=["jit", "checkpoint", "jit in jit", "cond"],
)
def test_a_loss_inside_another_transform_is_entered(wrap):
    params, batch = make_params(), make_batch()

    def wrapped_step(params, batch):
        loss, gradient = jax.value_and_grad(wrap(loss_fn))(params, batch)
        return jax.tree.map(lambda p, g: p - RATE * g, params, gradient), loss

    (after, _), readings = jax.jit(watch(wrapped_step))(params, batch)
    bare, _ = jax.jit(wrapped_step)(params, batch)
    assert_same_bits(after, bare)
    _, values, cotangents, gradients = oracle(params, batch)
    assert norms(readings, "value") == approximately(values)
    assert norms(readings, "cotangent") == approximately(cotangents)
    assert norms(readings, "gradient") == approximately(gradients)


def test_a_jitted_step_that_ran_before_is_seen_and_left_as_it_was():
    params, batch = make_params(), make_batch()
    jitted = jax.jit(step)
    before, _ = jitted(params, batch)
    (after, _), readings = watch(jitted)(params, batch)
    assert set(norms(readings, "update")) == set(norms(readings, "gradient"))
    assert float(readings.update["layer_0/weight"].cosine) == pytest.approx(1, abs=1e-5)
    assert "nndiag" not in str(jax.make_jaxpr(jitted)(params, batch))
    assert_same_bits(before, after)


def test_has_aux_and_several_gradient_calls():
    params, batch = make_params(), make_batch()

    def two(params, batch):
        (loss, aux), first = jax.value_and_grad(
            lambda p: (
                loss_fn(p, batch),
                {"name": "text", "twice": 2 * p["layer_0"]["bias"]},
            ),
            has_aux=True,
        )(params)
        second = jax.grad(lambda p: 3 * loss_fn(p, batch))(params)
        assert (aux["name"], loss.shape) == ("text", ())
        return aux["twice"], first, second

    (twice, _, second), readings = jax.jit(watch(two))(params, batch)
    np.testing.assert_array_equal(twice, 2 * params["layer_0"]["bias"])
    one = readings.gradient["layer_0/weight"].norm
    three = readings.gradient["layer_0/weight#2"].norm
    assert float(three) == pytest.approx(3 * float(one), rel=1e-6)
    norm = np.linalg.norm(np.asarray(second["layer_0"]["weight"]))
    assert float(three) == pytest.approx(norm, rel=1e-6)


def test_argnums_and_keyword_arguments():
    def f(a, b, *, scale):
        return scale * jnp.square(a * b).sum()

    def g(a, b):
        return jax.grad(f, argnums=(1, 0))(a, b, scale=2.0)

    a, b = jnp.arange(3.0), jnp.ones(3)
    out, readings = jax.jit(watch(g))(a, b)
    assert_same_bits(out, jax.jit(g)(a, b))
    assert norms(readings, "gradient") == pytest.approx(
        {
            "0": np.linalg.norm(4 * np.arange(3) ** 2),
            "1": np.linalg.norm(4 * np.arange(3)),
        }
    )


def test_a_custom_vjp_keeps_its_own_rule():
    @jax.custom_vjp
    def straight_through(x):
        return jnp.round(x)

    straight_through.defvjp(lambda x: (jnp.round(x), None), lambda _, ct: (7 * ct,))

    def f(w, x):
        return jax.grad(lambda w: straight_through(x @ w).sum())(w)

    w, x = jnp.ones(2), jnp.ones((3, 2))
    gradient, readings = jax.jit(watch(f))(w, x)
    np.testing.assert_array_equal(gradient, [21, 21])
    assert float(readings.gradient["parameter"].norm) == pytest.approx(21 * 2**0.5)


def test_second_derivatives_pass_through_a_watch():
    params, batch = make_params(), make_batch()

    def hvp(params, batch):
        grad = jax.grad(lambda p: loss_fn(p, batch))
        return jax.jvp(grad, (params,), (params,))[1]

    out, _ = jax.jit(watch(hvp))(params, batch)
    assert_same_bits(out, jax.jit(hvp)(params, batch))


def test_stop_gradient_leaves_no_cotangent():
    def f(w, x):
        def loss(w):
            h = jax.lax.stop_gradient(jnp.tanh(x @ w["a"]))
            return (h @ w["b"]).sum()

        return jax.grad(loss)(w)

    w = {"a": jnp.ones((2, 3)), "b": jnp.ones((3, 1))}
    _, readings = jax.jit(watch(f))(w, jnp.ones((4, 2)))
    assert "tanh" in readings.value
    assert float(readings.gradient["a"].norm) == 0
    assert "tanh" not in readings.cotangent or readings.cotangent["tanh"].norm == 0


def test_units_of_a_convolution_are_its_channels():
    def f(w, x):
        def loss(w):
            h = jax.lax.conv(x, w["kernel"], (1, 1), "SAME")  # (batch, channel, h, w)
            h = jax.nn.relu(h + w["bias"][None, :, None, None])
            return (h.reshape(len(h), -1) @ w["out"]).sum()

        return jax.grad(loss)(w)

    w = {
        "kernel": jax.random.normal(jax.random.key(0), (4, 1, 3, 3)),
        "bias": jnp.array([0.0, -1e3, 0.0, -1e3]),
        "out": jnp.ones((4 * 36, 1)),
    }
    _, readings = jax.jit(watch(f))(w, jnp.ones((2, 1, 6, 6)))
    assert float(readings.value["relu"].dead_units) == 0.5


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_what_is_not_finite_is_told(bad):
    params, batch = make_params(), make_batch()
    broken = (batch[0].at[2, 3].set(bad), batch[1])
    _, readings = jax.jit(watch(step))(params, broken)
    assert readings.finite == 0
    assert not np.isfinite(float(readings.value["input"].largest))


def test_light_measures_norms_only():
    _, readings = jax.jit(watch(step, level="light"))(make_params(), make_batch())
    _, _, cotangents, gradients = oracle(make_params(), make_batch())
    assert norms(readings, "gradient") == approximately(gradients)
    assert norms(readings, "cotangent") == approximately(cotangents)
    assert not readings.value
    assert not readings.update
    assert all(s.largest is None for s in readings.gradient.values())


def test_parts_can_be_chosen():
    level = Level(saturation=True)
    _, readings = jax.jit(watch(step, level=level))(make_params(), make_batch())
    assert readings.value["hidden_1/sigmoid"].saturated is not None
    assert not readings.update


def test_bfloat16_is_measured_in_float32():
    def f(w, x):
        return jax.grad(lambda w: jnp.tanh(x @ w).astype(jnp.float32).mean())(w)

    w = jnp.full((64, 64), 0.01, jnp.bfloat16)
    x = jnp.ones((256, 64), jnp.bfloat16)
    _, readings = jax.jit(watch(f))(w, x)
    assert readings.value["input"].mean.dtype == jnp.float32
    assert float(readings.value["input"].norm) == pytest.approx(128.0)
    assert {s.dtype for s in readings.gradient} == {"bfloat16"}


def test_a_tap_reports_and_is_nothing_outside():
    def f(w, x):
        return jax.grad(lambda w: nndiag.tap(x @ w, "score").sum())(w)

    x = jnp.arange(6.0).reshape(3, 2)
    bare = str(jax.make_jaxpr(f)(jnp.ones(2), x))
    assert "mark" not in bare
    _, readings = jax.jit(watch(f))(jnp.ones(2), x)
    assert float(readings.value["score"].mean) == 5.0
    assert float(readings.cotangent["score"].norm) == pytest.approx(3**0.5)


def test_value_and_grad_is_jax_own():
    assert nndiag.value_and_grad is jax.value_and_grad


def test_no_gradient_is_one_clear_error():
    with pytest.raises(ProgramError, match="double takes no gradient"):

        def double(x):
            return 2 * x

        watch(double)(jnp.ones(2))


def test_unknown_level():
    with pytest.raises(SettingError, match="unknown level 'much'"):
        watch(step, level="much")


def test_a_step_whose_state_has_numbers_and_names_in_it():
    def f(state, batch):
        gradient = jax.grad(lambda p: loss_fn(p, batch))(state["params"])
        params = jax.tree.map(lambda p, g: p - g, state["params"], gradient)
        return {"params": params, "name": state["name"], "count": state["count"] + 1}

    state = {"params": make_params(), "name": "run", "count": 3}
    after, readings = watch(f)(state, make_batch())
    assert (after["name"], after["count"]) == ("run", 4)
    assert len(readings.update) == 6
