"""Programs in which there is nothing to find."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .case import half, single, sound

MASK = np.array([[True, False], [True, True]])


@sound(single([1, 2], [3, 4]))
def masked_softmax(scores):
    return jax.nn.softmax(jnp.where(MASK, scores, -jnp.inf))


@sound(single([1, 2], [3, 4]))
def causal_attention(x):
    scores = x @ x.T + jnp.where(jnp.tril(jnp.ones((2, 2))) > 0, 0.0, -jnp.inf)
    return jax.nn.softmax(scores) @ x


@sound(single([1, 2], [3, 4]))
def gradient_of_masked_attention(x):
    def loss(x):
        return (jax.nn.softmax(jnp.where(MASK, x @ x.T, -jnp.inf)) @ x).sum()

    return jax.grad(loss)(x)


@sound(single(1e4, -1e4, 0))
def stable_log_softmax(z):
    return jax.value_and_grad(lambda z: -jax.nn.log_softmax(z)[1])(z)


@sound(single(4, 0, -1))
def double_where(x):
    def loss(x):
        inside = jnp.where(x > 0, x, 1.0)
        return jnp.where(x > 0, jnp.sqrt(inside), 0.0).sum()

    return jax.grad(loss)(x)


@sound(single(0, 0.5, 1))
def clipped_logarithm(p):
    return jax.value_and_grad(lambda p: -jnp.log(jnp.clip(p, 1e-7, 1.0)).sum())(p)


@sound(single(0, 0.5))
def logarithm_clipped_afterwards(p):
    return jnp.maximum(jnp.log(p), -100.0)


@sound(np.array([2**30, 7], np.int32))
def integer_work(n):
    wrapped = (n * 4 // 3) % 5
    return wrapped, n // jnp.maximum(n - 7, 1), jnp.argsort(n).astype(jnp.float32)


@sound(single())
def nothing_at_all(x):
    return jnp.sum(x), jnp.exp(x), jnp.max(x, initial=0.0)


@sound(single(3, 1, 2))
def running_minimum(xs):
    return lax.scan(lambda low, x: (jnp.minimum(low, x),) * 2, jnp.inf, xs)


@sound(single([-np.inf, -np.inf], [1, 2]))
def logsumexp_of_masked_rows(x):
    return jnp.exp(jax.nn.logsumexp(x, axis=1))


@sound(single([1, 2], [3, 4]))
def masked_scores_as_output(scores):
    return jnp.where(MASK, scores, -jnp.inf)


@sound(single(1, -3))
def sum_without_nan(x):
    return jnp.nansum(jnp.log(x))


@sound(single(4, 0, -1))
def masked_in_the_forward_pass(x):
    return jnp.where(x > 0, jnp.log(x), 0.0)


@sound(single(1, 0, -1))
def mapped_condition(x):
    return jax.vmap(lambda x: lax.cond(x > 0, jnp.log, jnp.negative, x))(x)


@sound(single(1000, -1000, 0))
def stable_sigmoid(x):
    return jax.value_and_grad(lambda x: jax.nn.sigmoid(x).sum())(x)


@sound(single(1000, -1000))
def stable_softplus(x):
    return jax.value_and_grad(lambda x: jax.nn.softplus(x).sum())(x)


@sound(np.ones((1, 4, 4, 1), np.float32))
def pooling(x):
    window = (1, 2, 2, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")


@sound(single(0, 2))
def absorbed_pole(x):
    return 1 / (1 + 1 / x)


@sound(single(0, 2))
def replaced_infinities(x):
    return jnp.nan_to_num(jnp.log(x))


@sound(single(0.1, 0.9, 0.3))
def best_of_masked(x):
    return lax.top_k(jnp.where(x > 0.2, x, -jnp.inf), 2)


@sound(single(0, 2, 3))
def bad_element_left_out(x):
    return jnp.log(x)[1:]


@sound(single(-1, 2))
def never_used(x):
    unused = jnp.sqrt(x)
    del unused
    return x * 2


@sound(single(0, 1), single(0, 1))
def library_entropy(x, y):
    return jax.scipy.special.xlogy(x, y).sum()


@sound({"w": np.ones((2, 3), np.float32), "b": np.zeros(3, np.float32)}, single([1, 2]))
def training_step(params, x):
    def loss(params):
        hidden = jax.nn.relu(x @ params["w"] + params["b"])
        return -jax.nn.log_softmax(hidden)[0, 0]

    grads = jax.jit(jax.grad(loss))(params)
    second = jax.tree.map(jnp.square, grads)
    return jax.tree.map(
        lambda p, g, s: p - 0.1 * g / (jnp.sqrt(s) + 1e-8), params, grads, second
    )


@sound(single(1, 2))
def loop_that_prints(x):
    def body(i, x):
        jax.debug.print("{}", i)
        return x * 0.5

    return lax.fori_loop(0, 3, body, x)


@sound(jax.random.key(0), np.ones((4, 4), np.float32))
def dropout(key, x):
    return jnp.where(jax.random.bernoulli(key, 0.5, x.shape), x / 0.5, 0)


@sound(half(300, 2))
def mean_square_in_full_precision(x):
    return x / jnp.sqrt(jnp.mean(x.astype(jnp.float32) ** 2)).astype(x.dtype)


@sound(single(0, 2), look_for="nan")
def inf_when_only_nan_is_looked_for(x):
    return 1 / x


@sound(single(0.5, 0.1))
def beam_scores(x):
    start = jnp.full(2, -jnp.inf).at[0].set(0.0)
    return lax.scan(
        lambda s, step: (jnp.maximum(s, s[0] + x), step), start, jnp.arange(3)
    )


@sound(single(3, 4))
def all_zero_mask(x):
    mask = jnp.zeros(2)
    return (x * mask).sum() / jnp.maximum(mask.sum(), 1.0)


@sound(np.array([3, 5], np.int32))
def mapped_while_whose_first_lane_stands_still(lengths):
    def count(length):
        def body(state):
            return state[0] + 1, 1.0 / (length - state[0])

        return lax.while_loop(lambda state: state[0] < length, body, (0, 1.0))[1]

    return jax.vmap(count)(lengths)


@sound(single(-1, 1), ignore_masked=True)
def bad_element_set_anew(x):
    return jnp.log(x).at[0].set(0.0)


@sound(single(1, 2, 3))
def buffer_of_nan_that_is_filled(x):
    buffer = jnp.full(3, jnp.nan)
    return lax.fori_loop(0, 3, lambda i, held: held.at[i].set(x[i]), buffer)


@sound(single(1, 100))
def overflow_that_sorting_leaves_out(x):
    powers = -jnp.exp(x)
    return lax.top_k(powers, 1)[0], lax.cummax(powers), powers.at[1].max(0.0)


@sound(half([1, 2], [3, 4]))
def added_mask_beyond_float16(scores):
    mask = jnp.where(MASK, 0.0, -1e9).astype(jnp.float16)
    return jax.nn.softmax(scores + mask)


@sound(single(0, 0, 0), single(1, 0, 0))
def two_added_masks(scores, padding):
    lowest = jnp.finfo(jnp.float32).min
    return jax.nn.softmax(scores + lowest * padding + lowest * (1 - padding[::-1]) / 2)


@sound(half(1e4, -6e4))
def log_softmax_beyond_float16(z):
    return jax.grad(lambda z: -jax.nn.log_softmax(z)[0])(z)
