"""Activations are recognised by what they compute, and flat where they say."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nndiag.probes import activations, watch

Z = np.linspace(-12, 12, 240_001)


def hand_sigmoid(z):
    return 1 / (1 + jnp.exp(-z))


def stable_sigmoid(z):
    """The blog's: clipped, and the smaller of two stable forms."""
    z = jnp.clip(z, -60, 60)
    return jnp.minimum(1 / (1 + jnp.exp(-z)), jnp.exp(z) / (1 + jnp.exp(z)))


def hand_tanh(z):
    return (jnp.exp(z) - jnp.exp(-z)) / (jnp.exp(z) + jnp.exp(-z))


@jax.custom_vjp
def custom_sigmoid(z):
    return 1 / (1 + jnp.exp(-z))


custom_sigmoid.defvjp(
    lambda z: (custom_sigmoid(z),) * 2, lambda y, ct: (ct * y * (1 - y),)
)


@jax.custom_jvp
def custom_relu(z):
    return jnp.where(z > 0, z, 0.0)


custom_relu.defjvp(lambda p, t: (custom_relu(p[0]), jnp.where(p[0] > 0, t[0], 0.0)))

WRITTEN = {
    "sigmoid": [jax.nn.sigmoid, hand_sigmoid, stable_sigmoid, custom_sigmoid],
    "tanh": [jnp.tanh, hand_tanh, lambda z: 2 * jax.nn.sigmoid(2 * z) - 1],
    "relu": [
        jax.nn.relu,
        lambda z: jnp.maximum(z, 0),
        custom_relu,
        lambda z: z * (z > 0),
    ],
    "gelu": [
        jax.nn.gelu,
        lambda z: jax.nn.gelu(z, approximate=False),
        lambda z: z * 0.5 * (1 + jax.lax.erf(z / jnp.sqrt(2.0))),
    ],
    "silu": [
        jax.nn.silu,
        lambda z: z * jax.nn.sigmoid(z),
        lambda z: z / (1 + jnp.exp(-z)),
    ],
    "softplus": [jax.nn.softplus, lambda z: jnp.log1p(jnp.exp(z))],
    "leaky_relu": [jax.nn.leaky_relu, lambda z: jnp.where(z > 0, z, 0.2 * z)],
    "elu": [jax.nn.elu],
    "selu": [jax.nn.selu],
    "relu6": [jax.nn.relu6, lambda z: jnp.clip(z, 0, 6)],
    "hard_tanh": [jax.nn.hard_tanh, lambda z: jnp.clip(z, -1, 1)],
    "hard_sigmoid": [jax.nn.hard_sigmoid],
    "hard_silu": [jax.nn.hard_swish],
    "mish": [jax.nn.mish],
    "softsign": [jax.nn.soft_sign],
}
CASES = [(name, f) for name, functions in WRITTEN.items() for f in functions]


def two_layers(activate):
    """A step whose only activation is `activate`, between two layers."""

    def step(w, x):
        def loss(w):
            with jax.named_scope("hidden"):
                h = activate(x @ w["a"])
            return jax.nn.logsumexp(h @ w["b"], axis=-1).mean()

        return jax.grad(loss)(w)

    return step


def weights(scale=0.5):
    a, b = jax.random.split(jax.random.key(1))
    return {
        "a": scale * jax.random.normal(a, (5, 4)),
        "b": scale * jax.random.normal(b, (4, 3)),
    }


X = jax.random.normal(jax.random.key(2), (6, 5))


@pytest.mark.parametrize(("name", "function"), CASES)
def test_every_way_of_writing_it_is_recognised(name, function):
    _, readings = jax.jit(watch(two_layers(function)))(weights(), X)
    activations_seen = [s for s in readings.value if s.kind == "activation"]
    assert activations_seen == [f"hidden/{name}"]
    assert activations_seen[0].file.endswith(Path(__file__).name)


@pytest.mark.parametrize(("name", "function"), [(n, f[0]) for n, f in WRITTEN.items()])
def test_slope_and_saturation_match_autodiff(name, function):
    w = weights(scale=4.0)
    _, readings = jax.jit(watch(two_layers(function)))(w, X)
    stats = readings.value[f"hidden/{name}"]
    z = X @ w["a"]
    slope = np.abs(np.asarray(jax.vmap(jax.vmap(jax.grad(function)))(z), np.float64))
    if name == "leaky_relu":  # the slope of its negative side is not known
        assert stats.slope is None
        assert stats.saturated is None
        return
    peak = np.abs(np.asarray(jax.vmap(jax.grad(function))(jnp.asarray(Z)))).max()
    flat = slope < 0.05 * peak
    assert float(stats.slope) == pytest.approx(slope.mean(), abs=2e-3)
    assert float(stats.saturated) == pytest.approx(flat.mean(), abs=1e-6)
    assert float(stats.saturated_units) == pytest.approx(flat.all(0).mean(), abs=1e-6)


@pytest.mark.parametrize("name", sorted(activations.ACTIVATIONS))
def test_the_peak_in_the_table_is_the_largest_slope(name):
    activation = activations.ACTIVATIONS[name]
    y = activation.curve(Z)
    slopes = np.abs(np.gradient(y, Z))
    assert activation.peak == pytest.approx(slopes.max(), rel=1e-3)


@pytest.mark.parametrize("name", sorted(activations.ACTIVATIONS))
def test_no_two_functions_of_the_table_are_mistaken_for_each_other(name):
    from nndiag.probes.elementwise import GRID

    assert activations.recognise(activations.ACTIVATIONS[name].curve(GRID)) == name


@pytest.mark.parametrize(
    "function",
    [
        lambda z: z,
        lambda z: 3 * z + 1,
        lambda z: jnp.exp(z),
        lambda z: jax.nn.softmax(z, axis=-1),
        lambda z: jnp.square(z),
        lambda z: z / (1e-6 + jnp.linalg.norm(z)),
    ],
)
def test_what_is_no_activation_is_not_reported_as_one(function):
    _, readings = jax.jit(watch(two_layers(function)))(weights(), X)
    assert not [s for s in readings.value if s.kind == "activation"]


def test_a_scaled_activation_is_seen_at_its_own_argument():
    step = two_layers(lambda z: 1.7159 * jnp.tanh(2 / 3 * z))
    _, readings = jax.jit(watch(step))(weights(), X)
    stats = readings.value["hidden/tanh"]
    z = np.asarray(X @ weights()["a"], np.float64)
    assert float(stats.mean) == pytest.approx(np.tanh(2 / 3 * z).mean(), abs=1e-5)


def test_nothing_of_the_loss_is_a_layer():
    def step(w, x):
        def loss(w):
            z = x @ w
            binary = jax.nn.softplus(z) - z * 0.5
            other = -jax.nn.log_sigmoid(z)
            hinge = jnp.maximum(0, 1 - z * jnp.sign(z))
            return (binary + other + hinge).mean()

        return jax.grad(loss)(w)

    _, readings = watch(step)(jnp.ones((5, 2)), X)
    assert not [s for s in readings.value if s.kind == "activation"]


def test_a_sigmoid_on_the_output_layer_is_a_layer():
    def step(w, x):
        return jax.grad(lambda w: jnp.square(jax.nn.sigmoid(x @ w) - 1).mean())(w)

    _, readings = watch(step)(jnp.ones((5, 2)), X)
    assert [s for s in readings.value if s.kind == "activation"] == ["sigmoid"]
