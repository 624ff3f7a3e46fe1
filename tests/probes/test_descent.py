"""Updates that need not be read are those that reading would have found."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

import nndiag
from nndiag.probes import statistics

KEY = jax.random.key(0)
X = jax.random.normal(KEY, (16, 6))
PARAMS = {
    "w": jax.random.normal(jax.random.fold_in(KEY, 1), (6, 4)),
    "b": jax.random.normal(jax.random.fold_in(KEY, 2), (4,)),
    "gain": jnp.asarray(1.5, jnp.float32),
}


def loss(params, x):
    return jnp.square(params["gain"] * jnp.tanh(x @ params["w"] + params["b"])).mean()


def plain(move):
    def step(params, x, rate):
        value, gradients = jax.value_and_grad(loss)(params, x)
        return jax.tree.map(lambda p, g: move(p, g, rate), params, gradients), value

    return step


def with_optax(optimizer):
    def step(params, x, rate):
        value, gradients = jax.value_and_grad(loss)(params, x)
        updates, _ = optimizer.update(gradients, optimizer.init(params), params)
        return optax.apply_updates(params, updates), value

    return step


def in_a_jit(params, x, rate):
    value, gradients = jax.jit(jax.value_and_grad(loss))(params, x)
    return jax.tree.map(lambda p, g: p - rate * g, params, gradients), value


def in_a_scan(params, x, rate):
    return lax.scan(
        lambda p, x: plain(lambda p, g, r: p - r * g)(p, x, rate), params, x
    )


DESCENTS = {
    "sub": plain(lambda p, g, r: p - 0.1 * g),
    "add": plain(lambda p, g, r: -r * g + p),
    "neg and div": plain(lambda p, g, r: p + -(g / 10) * r),
    "jitted": jax.jit(plain(lambda p, g, r: p - 0.1 * g)),
    "gradient jitted": in_a_jit,
    "ascent": plain(lambda p, g, r: p + r * g),
    "sgd": with_optax(optax.sgd(0.1)),
    "schedule": with_optax(optax.sgd(optax.cosine_decay_schedule(0.1, 9))),
    "clipped": with_optax(optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(0.1))),
    "not clipped": with_optax(
        optax.chain(optax.clip_by_global_norm(1e3), optax.sgd(0.1))
    ),
    "zero rate": plain(lambda p, g, r: p - 0 * r * g),
}
OTHERS = {
    "rate traced into a jit": jax.jit(plain(lambda p, g, r: p - r * g)),
    "weights clipped after": plain(lambda p, g, r: jnp.clip(p - r * g, -0.5, 0.5)),
    "decay": with_optax(optax.adamw(0.1, weight_decay=0.1)),
    "momentum and decay": with_optax(
        optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1, momentum=0.9))
    ),
    "another parameter's": lambda p, x, r: (
        {**p, "b": p["b"] - r * jax.grad(loss)(p, x)["b"] * p["gain"] ** 2},
        r,
    ),
    "rates per element": plain(
        lambda p, g, r: p - jnp.linspace(0, r, p.size).reshape(p.shape) * g
    ),
    "old gradient twice": plain(lambda p, g, r: p - r * g - r * g),
}


def expected(before, after, gradient):
    """In float64, from what went in and came out."""
    update = np.asarray(after, np.float64) - np.asarray(before, np.float64)
    gradient = np.asarray(gradient, np.float64)
    size = np.linalg.norm(update)
    if size == 0:
        return 0.0, 0.0
    return size, -(update * gradient).sum() / (size * np.linalg.norm(gradient))


@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize("name", [*DESCENTS, *OTHERS])
def test_norm_and_cosine_are_those_of_the_update_made(name, jitted):
    step = (DESCENTS | OTHERS)[name]
    watched = nndiag.watch(step)
    (after, _), readings = (jax.jit(watched) if jitted else watched)(PARAMS, X, 0.2)
    gradients = jax.grad(loss)(PARAMS, X)
    for leaf in PARAMS:
        stats = readings.update[leaf]
        norm, cosine = expected(PARAMS[leaf], after[leaf], gradients[leaf])
        assert float(stats.norm) == pytest.approx(norm, rel=1e-3, abs=1e-9), leaf
        assert float(stats.cosine) == pytest.approx(cosine, abs=1e-3), leaf


def test_within_a_scan_each_iteration_has_its_own():
    xs = jnp.stack([X, 2 * X, X - 1])
    (_, _), readings = jax.jit(nndiag.watch(in_a_scan))(PARAMS, xs, 0.2)
    params = PARAMS
    for i, x in enumerate(xs):
        gradients = jax.grad(loss)(params, x)
        norm = 0.2 * np.linalg.norm(gradients["w"])
        assert float(readings.update["w"].norm[i]) == pytest.approx(norm, rel=1e-4)
        params = jax.tree.map(lambda p, g: p - 0.2 * g, params, gradients)


@pytest.mark.parametrize("name", DESCENTS)
def test_plain_descent_is_not_read(name, monkeypatch):
    def read(*arrays):
        raise AssertionError("the update was read")

    monkeypatch.setattr(statistics, "describe_update", read)
    _, readings = nndiag.watch(DESCENTS[name])(PARAMS, X, 0.2)
    assert set(readings.update) == set(PARAMS)


def test_bfloat16_parameters_that_rounding_holds_still_have_no_update():
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16) + 8, PARAMS)
    x = X.astype(jnp.bfloat16)
    step = plain(lambda p, g, r: p - jnp.bfloat16(1e-4) * g)
    _, readings = nndiag.watch(step)(params, x, 0)
    assert float(readings.gradient["gain"].norm) > 0
    assert float(readings.update["gain"].norm) == 0
