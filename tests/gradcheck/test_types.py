"""Every kind of leaf is checked or skipped, and every structure is understood."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nndiag.gradcheck import check_grads


def test_leaves_without_derivative_are_skipped_and_named():
    def loss(params, key, *, scale):
        return (params["w"] ** 2).sum() * params["z"] * scale + params["n"]

    params = {"w": jnp.ones(2), "z": 2.0, "n": 3, "b": None, "e": jnp.ones((2, 0))}
    check = check_grads(loss, params, jax.random.key(0), scale=0.5)
    assert check.ok
    assert {leaf.path: leaf.verdict for leaf in check.leaves} == {
        "params['e']": "skipped",
        "params['n']": "skipped",
        "params['w']": "right",
        "params['z']": "right",
        "key": "skipped",
        "scale": "right",
    }


def test_a_dataclass_is_a_tree_of_leaves():
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Layer:
        w: jax.Array
        b: jax.Array

    check = check_grads(lambda p: (p.w * p.b).sum(), Layer(jnp.ones(2), jnp.ones(2)))
    assert check.ok
    assert [leaf.path for leaf in check.leaves] == ["p.w", "p.b"]


def test_complex_leaves_follow_the_convention_of_jax():
    def loss(z):
        return (jnp.abs(z) ** 2 * jnp.arange(1.0, 4.0)).sum() + jnp.real(z**3).sum()

    z = jnp.array([1 + 2j, 3 - 1j, 0.5j])
    assert check_grads(loss, z).ok
    right = check_grads(loss, z, gradient=jax.grad(loss))
    assert right.ok
    wrong = check_grads(loss, z, gradient=lambda z: jnp.conj(jax.grad(loss)(z)))
    assert wrong.ok is False


STRUCTURES = {
    "same": lambda w, b: {"w": w, "b": b},
    "by path": lambda w, b: {"p['w']": w, "p['b']": b},
    "in order": lambda w, b: [b, w],
    "flat": lambda w, b: np.concatenate([b, w.ravel()]),
    "with the value": lambda w, b: (1.0, {"w": w, "b": b}),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_gradient_may_come_in_many_structures(name):
    def loss(p, x):
        return ((x @ p["w"] + p["b"]) ** 2).sum()

    def gradient(p, x, factor=1.0):
        error = 2 * (x @ p["w"] + p["b"])
        return STRUCTURES[name](factor * x.T @ error, error.sum(0))

    random = np.random.default_rng(0)
    p = {"w": random.normal(size=(3, 2)), "b": random.normal(size=2)}
    p = {key: value.astype(np.float32) for key, value in p.items()}
    x = random.normal(size=(4, 3)).astype(np.float32)
    assert check_grads(loss, p, x, gradient=gradient).ok
    wrong = check_grads(loss, p, x, gradient=lambda p, x: gradient(p, x, 1.1))
    assert [leaf.verdict for leaf in wrong.leaves[:2]] == ["right", "wrong"]


def test_a_method_that_keeps_what_it_saw_can_be_checked():
    class Layer:
        def forward(self, w):
            return (w**2).sum()

        def backward(self, w):
            self.seen = w
            return 2 * np.asarray(w)

    layer = Layer()
    assert check_grads(
        layer.forward, np.ones(3, np.float32), gradient=layer.backward
    ).ok


def test_float64_is_checked_where_it_is_on():
    with jax.enable_x64(True):
        check = check_grads(lambda x: jnp.sin(x).sum(), jnp.linspace(0, 1, 5))
    assert check.ok
    assert check.leaves[0].dtype == "float64"


def test_a_gradient_that_rounds_its_constants_otherwise_is_right():
    data = np.random.default_rng(3).normal(size=(8, 3)).astype(np.float32)

    def loss(w):  # in float32: 0.05 and data / 7 are rounded there
        return 0.05 * jnp.sum(w**2) + jnp.mean(jnp.sin(data / 7 @ w))

    def gradient(w):  # in float64 where it can
        slopes = np.cos(data / 7 @ w)
        return 0.1 * w + (data / 7).T @ slopes / len(data)

    w = np.array([0.3, -1.2, 0.7], np.float32)
    assert check_grads(loss, w, gradient=gradient).ok
    off = check_grads(loss, w, gradient=lambda w: gradient(w) * (1 + 1e-5))
    assert off.ok is False
