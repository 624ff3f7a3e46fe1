"""Right gradients of functions that are unusual: losses, rules, types, structures."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .case import normal, right
from .losses import CLASSES, LABELS, SCORES

X = normal(1, 8)
ONE_HOT = np.eye(CLASSES, dtype=np.float32)[LABELS]
TARGETS = normal(2, *SCORES.shape)

# losses


def hinge(scores: Any) -> Any:
    margins = 1 - (2 * ONE_HOT - 1) * scores
    return jnp.mean(jnp.maximum(margins, 0))


def focal(scores: Any) -> Any:
    logs = jax.nn.log_softmax(scores)
    return -jnp.mean(jnp.sum(ONE_HOT * (1 - jnp.exp(logs)) ** 2 * logs, 1))


LOSSES = {
    "squared": lambda s: jnp.mean((s - TARGETS) ** 2),
    "absolute": lambda s: jnp.mean(jnp.abs(s - TARGETS)),
    "huber": lambda s: jnp.mean(jnp.where(jnp.abs(s) < 1, s**2 / 2, jnp.abs(s) - 0.5)),
    "hinge": hinge,
    "focal": focal,
    "log_cosh": lambda s: jnp.mean(jnp.log(jnp.cosh(s - TARGETS))),
    "binary": lambda s: jnp.mean(jax.nn.softplus(s) - ONE_HOT * s),
    "divergence": lambda s: jnp.sum(
        jax.nn.softmax(s) * (jax.nn.log_softmax(s) - jax.nn.log_softmax(TARGETS))
    ),
    "cosine": lambda s: jnp.vdot(s, TARGETS) / jnp.linalg.norm(s),
    "quantile": lambda s: jnp.mean(jnp.maximum(0.9 * s, -0.1 * s)),
    "triplet": lambda s: jax.nn.relu(
        1 + jnp.sum((s[0] - s[1]) ** 2) - jnp.sum(s[2] ** 2)
    ),
}
KINKED = {"absolute", "hinge", "quantile", "triplet"}
for name, loss in LOSSES.items():
    right(f"loss_{name}", loss, SCORES, undecided=name in KINKED)
    huge = (100 * SCORES).astype(np.float32)
    if name != "log_cosh":  # overflows
        right(f"loss_{name}_large_scores", loss, huge, undecided=True)

# functions


def at(name: str, fn: Any, *args: Any, **facts: Any) -> None:
    right(
        name, fn, *(np.float32(a) if isinstance(a, float) else a for a in args), **facts
    )


at("linear", lambda x: jnp.sum(3 * x), X)
at("linear_1e6", lambda x: jnp.sum(1e6 * x), X)
at("constant", lambda x: jnp.sum(0 * x) + 5, X)
at("unused", lambda x: jnp.float32(5), X)
at("scalar", lambda x: x**2, 1.5)
at("scalar_zero_slope", lambda x: (x - 1) ** 2, 1.0)
at("scalar_cubic_at_zero", lambda x: x**3, 0.0)
at("one_element", lambda x: jnp.sum(jnp.exp(x)), normal(3, 1))
at("empty_leaf", lambda p: jnp.sum(p["a"] ** 2) + jnp.sum(p["b"]), {"a": X, "b": X[:0]})
at("none_leaf", lambda p: jnp.sum(p["a"] ** 2), {"a": X, "b": None})
at(
    "integer_leaf",
    lambda p: jnp.sum(p["a"][p["i"]] ** 2),
    {"a": X, "i": np.array([2, 2, 5])},
)
at(
    "boolean_leaf",
    lambda p: jnp.sum(jnp.where(p["m"], p["a"], 0)),
    {"a": X, "m": X > 0},
)
at("tuple", lambda p: jnp.vdot(p[0], jnp.sin(p[1])), (X, X[::-1].copy()))
at(
    "matrix_inverse",
    lambda a: jnp.sum(jnp.linalg.inv(a)),
    np.eye(3, dtype=np.float32) + 0.1,
)
at("determinant", lambda a: jnp.linalg.slogdet(a)[1], normal(4, 3, 3))
at(
    "cholesky",
    lambda a: jnp.sum(jnp.linalg.cholesky(a @ a.T + jnp.eye(3))),
    normal(5, 3, 3),
)
at(
    "solve",
    lambda a: jnp.sum(jnp.linalg.solve(a + 3 * jnp.eye(3), X[:3])),
    normal(6, 3, 3),
)
at("fourier", lambda x: jnp.sum(jnp.abs(jnp.fft.rfft(x)) ** 2), X)
at("cumsum", lambda x: jnp.sum(jnp.cumsum(x) ** 2), X)
at("cumprod", lambda x: jnp.sum(jnp.cumprod(x)), X)
at("sort", lambda x: jnp.sum(jnp.sort(x) * np.arange(8)), X, undecided=True)
at("maximum", lambda x: jnp.max(x) ** 2, X, undecided=True)
at("max_tie", lambda x: jnp.max(x), np.ones(4, np.float32), undecided=True)
at(
    "abs_at_zero",
    lambda x: jnp.sum(jnp.abs(x)),
    np.zeros(3, np.float32),
    undecided=True,
)
at(
    "clip_edge",
    lambda x: jnp.sum(jnp.clip(x, -1, 1)),
    np.ones(3, np.float32),
    undecided=True,
)
at("floor", lambda x: jnp.sum(jnp.floor(x) * x), X, undecided=True)
at(
    "round_at_half",
    lambda x: jnp.sum(jnp.round(x)),
    np.float32([0.5, 1.5]),
    undecided=True,
)
at("sign_beside", lambda x: jnp.sum(jnp.sign(x) * x**2), X, undecided=True)
at(
    "stopped",
    lambda x: jnp.sum(x * jax.lax.stop_gradient(x * 0 + 2)),
    X,
    undecided=True,
)
at("stop_gradient", lambda x: jnp.sum(x * jax.lax.stop_gradient(x)), X, undecided=True)
at(
    "straight_through",
    lambda x: jnp.sum(x + jax.lax.stop_gradient(jnp.round(x) - x)),
    X,
    undecided=True,
)
at(
    "double_where",
    lambda x: jnp.sum(jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1)), 0)),
    X,
)
at("fori", lambda x: jax.lax.fori_loop(0, 4, lambda i, y: jnp.sin(y) + x, x).sum(), X)
at("oscillating", lambda x: jnp.sum(jnp.sin(300 * x)), X, undecided=True)
at("steep", lambda x: jnp.sum(jnp.exp(20 * x)), 0.5 * X, undecided=True)
at("cancelling", lambda x: jnp.sum((x + 1e4) ** 2 - 1e8), X, undecided=True)
at("beside_a_pole", lambda x: jnp.sum(1 / (x - 0.3)), np.float32([0.31, 0.29, 0.3001]))
at("beside_zero_of_log", lambda x: jnp.sum(jnp.log(x)), np.float32([1e-6, 1e-3, 1]))
at("beside_zero_of_sqrt", lambda x: jnp.sum(jnp.sqrt(x)), np.float32([1e-6, 1e-3, 1]))
at("mixed_scales", lambda x: jnp.sum(x**2), np.float32([1e-6, 1e4, 1, 1e-3]))
at(
    "mixed_leaves",
    lambda p: jnp.sum(p["a"] ** 2) * p["b"],
    {"a": X * 1e4, "b": np.float32(1e-6)},
)
at("aux", lambda x: (jnp.sum(x**2), {"seen": x}), X, options={"has_aux": True})
at("keyword", lambda x, power=2: jnp.sum(x**power), np.abs(X), options={"power": 3})
at("second_argument", lambda x, y: jnp.sum(x * y**2), X, X, options={"argnums": 1})
at(
    "two_arguments",
    lambda x, y: jnp.vdot(x, jnp.exp(y)),
    X,
    X,
    options={"argnums": (0, 1)},
)

COMPLEX = (X + 1j * X[::-1]).astype(np.complex64)
at("complex", lambda z: jnp.sum(jnp.abs(z) ** 2), COMPLEX)
at("complex_not_analytic", lambda z: jnp.sum(z.real * z.imag**2), COMPLEX)
at("complex_analytic", lambda z: jnp.sum(jnp.sin(z)).real, COMPLEX)
at(
    "complex_and_real",
    lambda p: jnp.abs(jnp.vdot(p["z"], p["x"])) ** 2,
    {"z": COMPLEX, "x": X},
)

# rules that are right


@jax.custom_vjp
def safe_root(x: Any) -> Any:
    return jnp.sqrt(x + 1e-3)


def safe_root_fwd(x: Any) -> Any:
    return safe_root(x), safe_root(x)


safe_root.defvjp(safe_root_fwd, lambda root, cotangent: (cotangent / (2 * root),))


@jax.custom_jvp
def stable_sum(x: Any) -> Any:
    top = jnp.max(x)
    return top + jnp.log(jnp.sum(jnp.exp(x - top)))


stable_sum.defjvp(
    lambda args, tangents: (
        stable_sum(args[0]),
        jnp.vdot(jnp.exp(args[0] - stable_sum(args[0])), tangents[0]),
    )
)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def leaky(x: Any, slope: float) -> Any:
    return jnp.where(x > 0, x, slope * x)


leaky.defvjp(
    lambda x, slope: (leaky(x, slope), x),
    lambda slope, x, cotangent: (jnp.where(x > 0, cotangent, slope * cotangent),),
)


@jax.custom_jvp
def log1pexp(x: Any) -> Any:
    return jnp.log1p(jnp.exp(x))


log1pexp.defjvps(lambda tangent, out, x: tangent * (1 - 1 / (1 + jnp.exp(x))))


def in_scan(x: Any, fn: Any) -> Any:
    def step(total: Any, row: Any) -> Any:
        return total + fn(row), None

    return jax.lax.scan(step, jnp.float32(0), x.reshape(2, 4))[0]


RULED = {
    "safe_root": lambda x: jnp.sum(safe_root(jnp.abs(x))),
    "stable_sum": lambda x: stable_sum(x) ** 2,
    "leaky": lambda x: jnp.sum(jnp.sin(leaky(x, 0.1))),
    "log1pexp": lambda x: jnp.sum(log1pexp(x)),
}
for name, fn in RULED.items():
    at(f"ruled_{name}", fn, X)
    at(f"ruled_{name}_in_scan", partial(in_scan, fn=fn), X)


# a gradient in another structure


class Weights(NamedTuple):
    first: Any
    second: Any


def pair(params: Any) -> Any:
    return jnp.sum(params.first**2) + jnp.sum(jnp.exp(params.second))


def pair_by_hand(params: Any) -> Any:
    return Weights(2 * params.first, np.exp(params.second))


at("module_by_hand", pair, Weights(X, X[:3]), gradient=pair_by_hand)
at(
    "float64_by_hand",
    lambda x: jnp.sum(x**4),
    X,
    gradient=lambda x: 4.0 * np.float64(x) ** 3,
)
at("list_by_hand", lambda x: jnp.sum(x**2), X, gradient=lambda x: 2 * jnp.asarray(x))
at("zero_by_hand", lambda x: jnp.sum(jnp.cos(0 * x)), X, gradient=np.zeros_like)
