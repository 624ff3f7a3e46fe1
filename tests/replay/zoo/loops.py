"""NaN and Inf in loops and branches, and in what is mapped."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .case import sick, single

RATIO = np.float32(np.exp(88.7228 / 9731.5))


@sick(
    single(3, 2, 1, 0, 4),
    kind="inf",
    primitive="log",
    path=("scan[3]",),
)
def scanned(xs):
    def body(total, x):
        return total + x, jnp.log(x)  # here

    return lax.scan(body, 0.0, xs)


@sick(single(1), kind="inf", primitive="mul", path=("scan[9731]",), element=(0,))
def long_scan(x):
    def body(value, _):
        return value * RATIO, None  # here

    return lax.scan(body, x, length=10_000)[0]


@sick(single(1, 0.5), kind="nan", primitive="sqrt", path=("scan[3]",), element=(1,))
def carried_through_a_scan(x):
    def body(value, step):
        return jnp.sqrt(value - 0.3), step  # here

    return lax.scan(body, x, jnp.arange(5))[0]


@sick(single(4, 0, 1, 2), kind="inf", primitive="div", path=("scan[1]",))
def reversed_scan(xs):
    def body(total, x):
        return total + 1 / x, None  # here

    return lax.scan(body, 0.0, xs, reverse=True)[0]


@sick(
    single([1, 2, 3], [4, 5, 0]),
    kind="inf",
    primitive="log",
    path=("scan[1]", "scan[2]"),
)
def scan_in_a_scan(rows):
    def inner(total, x):
        return total + jnp.log(x), None  # here

    def outer(total, row):
        return lax.scan(inner, total, row)

    return lax.scan(outer, 0.0, rows)[0]


@sick(
    single(1, -2, 0, 5),
    kind="inf",
    primitive="div",
    path=("scan[2]", "cond.branch1"),
)
def cond_in_a_scan(xs):
    def divide(x):
        return 1 / x  # here

    def body(total, x):
        return total + lax.cond(x >= 0, divide, jnp.negative, x), None

    return lax.scan(body, 0.0, xs)[0]


@sick(single(10), kind="inf", primitive="mul", path=("while[5]",), element=(0,))
def while_loop(x):
    def advance(state):
        step, value = state
        return step + 1, value * value  # here

    return lax.while_loop(lambda state: state[0] < 8, advance, (0, x))


@sick(
    single(2),
    kind="nan",
    primitive="sqrt",
    path=("cond.branch1", "while[2]"),
    element=(0,),
)
def while_in_a_cond(x):
    def advance(state):
        step, value = state
        return step + 1, jnp.sqrt(value - 1.0)  # here

    def descend(x):
        return lax.while_loop(lambda state: state[0] < 6, advance, (0, x))[1]

    return lax.cond(x.sum() > 0, descend, jnp.negative, x)


@sick(single(4, 2), kind="inf", primitive="div", path=("scan[3]",), element=(0,))
def counted_loop(x):
    def body(i, total):
        return total + x / (3 - i)  # here

    return lax.fori_loop(0, 6, body, jnp.zeros(2))


@sick(
    single(4, 2), np.int32(6), kind="inf", primitive="div", path=("while[3]",),
    element=(0,),
)  # fmt: skip
def counted_loop_of_unknown_length(x, steps):
    def body(i, total):
        return total + x / (3 - i)  # here

    return lax.fori_loop(0, steps, body, jnp.zeros(2))


@sick(single(3, -1), kind="nan", primitive="log", path=("cond.branch1",), element=(1,))
def conditional(x):
    def logs(x):
        return jnp.log(x)  # here

    return lax.cond(x.sum() > 0, logs, jnp.exp, x)


@sick(
    single(3, 0), np.int32(2), kind="inf", primitive="div", path=("cond.branch2",),
    element=(1,),
)  # fmt: skip
def switched(x, which):
    def invert(x):
        return 1 / x  # here

    return lax.switch(which, [jnp.sin, jnp.cos, invert], x)


@sick(single(2, 9, 0), kind="inf", primitive="log", path=("scan[2]",))
def mapped_one_by_one(xs):
    return lax.map(lambda x: jnp.log(x), xs)  # here


@sick(
    single(1, 4, 0, 9),
    kind="nan",
    primitive="mul",
    direction="backward",
    path=("scan[2]",),
    origin="div",
)
def gradient_of_a_scan(xs):
    def body(total, x):
        return total + jnp.sqrt(x * x), None  # here

    return jax.grad(lambda xs: lax.scan(body, 0.0, xs)[0])(xs)


@sick(
    single(1, 2, 3),
    kind="nan",
    primitive="mul",
    direction="backward",
    path=("scan[1]",),
    origin="div",
)
def gradient_of_a_jitted_scan_with_parameters(xs):
    def loss(weight):
        def body(total, x):
            return total + jnp.sqrt((weight - x) ** 2), None  # here

        return lax.scan(body, 0.0, xs)[0]

    return jax.jit(jax.value_and_grad(loss))(2.0)


@sick(single([1, 2], [3, 0], [0, 4]), kind="inf", primitive="log", element=(1, 1))
def mapped(rows):
    return jax.vmap(lambda row: jnp.log(row))(rows)  # here


@sick(
    single([1, 2, 3], [4, 0, 5]), kind="inf", primitive="log", path=("scan[1]",),
    element=(1,),
)  # fmt: skip
def mapped_scan(rows):
    def body(total, x):
        return total + jnp.log(x), None  # here

    return jax.vmap(lambda row: lax.scan(body, 0.0, row)[0])(rows)


@sick(single(2, 0), kind="inf", primitive="log", element=(1,))
def jitted(x):
    @jax.jit
    def logs(x):
        return jnp.log(x)  # here

    return logs(x)


@sick(single(2, -3), kind="nan", primitive="sqrt", element=(1,))
def jit_in_a_jit(x):
    @jax.jit
    def root(x):
        return jnp.sqrt(x)  # here

    @jax.jit
    def outer(x):
        return root(x) + root(x + 10)

    return outer(x)


@sick(single(2, 0), kind="inf", primitive="div", element=(1,))
def donated(x):
    def invert(x):
        return 1 / x  # here

    return jax.jit(invert, donate_argnums=0)(x)


@sick(single(0, 3), kind="inf", primitive="log", element=(0,))
def with_printing(x):
    jax.debug.print("x = {}", x)
    y = jnp.log(x)  # here
    jax.debug.print("y = {}", y)
    return y


@sick(
    np.array([2, 4], np.int32),
    kind="inf",
    primitive="div",
    path=("while[1]",),
    element=(0,),
)
def mapped_while_of_different_lengths(lengths):
    def count(length):
        def body(state):
            i, value = state
            return i + 1, value / (length - i - 1)  # here

        return lax.while_loop(lambda state: state[0] < length, body, (0, 1.0))[1]

    return jax.vmap(count)(lengths)


@sick(np.int32(1), single(4, -1), kind="nan", primitive="sqrt",
      path=("cond.branch1",), element=(1,))  # fmt: skip
def switched_between_functions_of_jax(which, x):
    return lax.switch(which, [jnp.log, jnp.sqrt], x)  # here
