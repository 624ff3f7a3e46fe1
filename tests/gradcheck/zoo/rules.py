"""Functions with wrong derivative rules of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from .case import normal, wrong

SIDE = 4
X = normal(1, SIDE, SIDE)
WIDE = normal(2, 12, scale=3)
PAIR = {"left": normal(3, SIDE, SIDE), "right": normal(4, SIDE, SIDE)}
WEIGHTS = normal(5, SIDE, SIDE)
LEFT, RIGHT = "params['left']", "params['right']"


def pulled(fn: Callable[..., Any], spoil: Callable[..., Any]) -> Any:
    """`fn` with a `custom_vjp` that spoils the cotangents: ``spoil(grads, *args)``."""

    def bwd(args: Any, cotangent: Any) -> Any:
        return tuple(spoil(jax.vjp(fn, *args)[1](cotangent), *args))

    primal = jax.custom_vjp(fn)
    primal.defvjp(lambda *args: (fn(*args), args), bwd)
    return primal


def pushed(fn: Callable[..., Any], spoil: Callable[..., Any]) -> Any:
    """`fn` with a `custom_jvp` that spoils the tangent: ``spoil(tangent, *args)``."""

    primal = jax.custom_jvp(fn)

    @primal.defjvp
    def rule(args: Any, tangents: Any) -> Any:
        value, tangent = jax.jvp(fn, args, tangents)
        return value, spoil(tangent, *args)

    return primal


def unary(fn: Callable[..., Any], x: Any) -> Any:
    return jnp.sum(jnp.cos(fn(x)) * jnp.linspace(0.5, 1.5, x.size).reshape(x.shape))


def binary(fn: Callable[..., Any], params: Any) -> Any:
    return jnp.sum(WEIGHTS * jnp.sin(fn(params["left"], params["right"])))


def plant(kind: str, leaves: str, ruled: Any, plain: Any, point: Any) -> None:
    caller = binary if isinstance(point, dict) else unary
    name = f"rule_{plain.__name__}"
    facts = {"rule": plain.__name__, "plain": partial(caller, plain)}
    wrong(name, kind, leaves, partial(caller, ruled), point, **facts)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + jnp.exp(-x))


def hyperbolic(x: Any) -> Any:
    return jnp.tanh(x)


def softplus_by_hand(x: Any) -> Any:
    return jnp.log1p(jnp.exp(x))


def clipped_identity(x: Any) -> Any:
    return x * 1


def bfloat_identity(x: Any) -> Any:
    return jnp.sin(x)


def rows(x: Any) -> Any:
    return x / jnp.sqrt(jnp.mean(x**2, -1, keepdims=True))


def running_sum(x: Any) -> Any:
    return jnp.cumsum(x)


def one_lost(x: Any) -> Any:
    return jnp.exp(x / 3)


def one_percent(x: Any) -> Any:
    return jnp.arctan(x)


def smooth_step(x: Any) -> Any:
    return jax.nn.sigmoid(x) * x


def quarter(x: Any) -> Any:
    return jnp.where(x > 3, 2 * x - 3, x**2 / 3)


def detached_half(x: Any) -> Any:
    return x * jnp.tanh(x)


def halved(x: Any) -> Any:
    return x**2


def shifted(x: Any) -> Any:
    return jnp.sinh(x / 4)


def square_product(left: Any, right: Any) -> Any:
    return left @ right


def product(left: Any, right: Any) -> Any:
    return left * jnp.exp(right / 4)


def blend(left: Any, right: Any) -> Any:
    return left / (1 + right**2)


def with_bias(left: Any, right: Any) -> Any:
    return left + right[0]


def distance(left: Any, right: Any) -> Any:
    return (left - right) ** 3


def rounded(grads: Any, *_: Any) -> Any:
    return [g.astype(jnp.bfloat16).astype(g.dtype) for g in grads]


def x_of(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Spoils the only cotangent: ``fn(grad, x)``."""
    return lambda grads, x: [fn(grads[0], x)]


plant("sign", "x", pulled(sigmoid, x_of(lambda g, x: -g)), sigmoid, X)
plant("factor", "x", pulled(hyperbolic, x_of(lambda g, x: 2 * g)), hyperbolic, X)
plant(
    "activation",
    "x",
    pulled(softplus_by_hand, x_of(lambda g, x: g / jax.nn.sigmoid(x))),
    softplus_by_hand,
    X,
)
plant(
    "clipped",
    "x",
    pulled(clipped_identity, x_of(lambda g, x: jnp.clip(g, -0.3, 0.3))),
    clipped_identity,
    X,
)
plant("truncation", "x", pulled(bfloat_identity, rounded), bfloat_identity, X)
plant(
    "dropped term",
    "x",
    pulled(
        rows,
        x_of(lambda g, x: g + x * jnp.mean(x * g + x * x, -1, keepdims=True)),
    ),
    rows,
    X,
)
plant(
    "wrong axis",
    "x",
    pulled(running_sum, x_of(lambda g, x: g[::-1])),
    running_sum,
    WIDE,
)
plant(
    "one coordinate",
    "x",
    pulled(one_lost, x_of(lambda g, x: g.at[7].set(0))),
    one_lost,
    WIDE,
)
plant(
    "one coordinate",
    "x",
    pulled(one_percent, x_of(lambda g, x: g.at[2, 1].mul(1.01))),
    one_percent,
    X,
)
plant(
    "threshold",
    "x",
    pulled(smooth_step, x_of(lambda g, x: jnp.where(x > 3, 0, g))),
    smooth_step,
    WIDE,
)
plant(
    "off by one", "x", pulled(shifted, x_of(lambda g, x: jnp.roll(g, 1))), shifted, WIDE
)
plant("factor", "x", pushed(halved, lambda t, x: t / 2), halved, X)
plant(
    "threshold",
    "x",
    pushed(quarter, lambda t, x: jnp.where(x > 3, t / 2, t)),
    quarter,
    WIDE,
)
plant(
    "detached",
    "x",
    pushed(detached_half, lambda t, x: jnp.where(x == 0, t, 0 * t)),
    detached_half,
    X,
)
plant(
    "one argument",
    RIGHT,
    pulled(square_product, lambda g, a, b: (g[0], g[1].T)),
    square_product,
    PAIR,
)
plant(
    "swapped",
    f"{LEFT} {RIGHT}",
    pulled(product, lambda g, a, b: (g[1], g[0])),
    product,
    PAIR,
)
plant(
    "one argument", LEFT, pulled(blend, lambda g, a, b: (2 * g[0], g[1])), blend, PAIR
)
plant(
    "batch",
    RIGHT,
    pulled(with_bias, lambda g, a, b: (g[0], g[1] / SIDE)),
    with_bias,
    PAIR,
)
plant("sign", RIGHT, pulled(distance, lambda g, a, b: (g[0], -g[1])), distance, PAIR)


@jax.custom_vjp
def cell(state: Any, x: Any) -> Any:
    return jnp.tanh(state + x)


def cell_bwd(state: Any, cotangent: Any) -> Any:
    grad = cotangent * (1 - state)  # the square is missing
    return grad, grad


cell.defvjp(lambda state, x: (jnp.tanh(state + x),) * 2, cell_bwd)


def loop(x: Any, cell: Any = cell) -> Any:
    return jnp.sum(jax.lax.scan(lambda s, x: (cell(s, x), s), jnp.zeros(SIDE), x)[1])


wrong(
    "rule_in_scan",
    "activation",
    "x",
    loop,
    X,
    rule="cell",
    plain=partial(loop, cell=lambda state, x: jnp.tanh(state + x)),
)


@jax.custom_jvp
def bend(x: Any) -> Any:
    return x**3


bend.defjvp(lambda args, tangents: (args[0] ** 3, -3 * args[0] ** 2 * tangents[0]))


def nested(x: Any, bend: Any = bend) -> Any:
    inner = jax.checkpoint(jax.vmap(bend))
    return jax.jit(lambda x: jax.lax.cond(x.sum() > -1e6, inner, jnp.sin, x).sum())(x)


wrong(
    "rule_in_branch",
    "sign",
    "x",
    nested,
    X,
    rule="bend",
    plain=partial(nested, bend=lambda x: x**3),
)
