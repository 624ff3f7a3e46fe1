"""NaN and Inf in functions with derivatives of their own."""

import jax
import jax.numpy as jnp

from .case import sick, single


@sick(single(4, 0), kind="inf", primitive="div", direction="backward", element=(1,))
def backward_rule(x):
    @jax.custom_vjp
    def root(x):
        return jnp.sqrt(x)

    def forward(x):
        y = jnp.sqrt(x)
        return y, y

    def backward(y, cotangent):
        return (cotangent / (2 * y),)  # here

    root.defvjp(forward, backward)
    return jax.grad(lambda x: root(x).sum())(x)


@sick(single(4, 0), kind="inf", primitive="log", element=(1,))
def forward_rule(x):
    @jax.custom_vjp
    def logs(x):
        return jnp.log(x)

    def forward(x):
        return jnp.log(x), x  # here

    def backward(x, cotangent):
        return (cotangent * 2.0,)

    logs.defvjp(forward, backward)
    return jax.value_and_grad(lambda x: logs(x).sum())(x)


@sick(single(4, 0), kind="inf", primitive="log", element=(1,))
def undifferentiated_rule(x):
    @jax.custom_vjp
    def logs(x):
        return jnp.log(x)  # here

    logs.defvjp(lambda x: (jnp.log(x), x), lambda x, cotangent: (cotangent / x,))
    return logs(x)


@sick(single(0, 4), kind="inf", primitive="div", element=(0,))
def tangent_rule(x):
    @jax.custom_jvp
    def logs(x):
        return jnp.log1p(x)

    @logs.defjvp
    def rule(primals, tangents):
        (x,), (tangent,) = primals, tangents
        slope = 1 / x  # here
        return logs(x), slope * tangent

    return jax.grad(lambda x: logs(x).sum())(x)


@sick(single(0, 4), kind="inf", primitive="log", element=(0,))
def value_with_a_tangent_rule(x):
    @jax.custom_jvp
    def logs(x):
        return jnp.log(x)  # here

    logs.defjvps(lambda tangent, y, x: tangent / x)
    return logs(x)


@sick(single(-2, 3), kind="nan", primitive="sqrt", element=(0,))
def after_relu_layers(x):
    hidden = jax.nn.relu(x)
    y = jnp.sqrt(jax.nn.silu(x))  # here
    return hidden.sum() + y
