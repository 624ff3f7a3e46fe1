"""The norm of the part of each example in the gradient.

The oracle differentiates the loss of each example alone, and divides by their number.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nndiag.probes import watch
from nndiag.probes.level import level_of

BATCH = 6


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def parts(loss, params, *batch):
    """‖∂ℓ_i/∂θ‖ / B, one example at a time."""

    def alone(params, *example):
        return loss(params, *(x[None] for x in example))

    gradients = jax.vmap(jax.grad(alone), (None, *(0 for _ in batch)))(params, *batch)
    squares = [
        np.square(np.asarray(leaf, np.float64)).reshape(BATCH, -1).sum(1)
        for leaf in jax.tree.leaves(gradients)
    ]
    return np.sqrt(sum(squares)) / BATCH


def read(loss, params, *batch):
    """What a watch says, and what it warns of."""

    def step(params, *batch):
        value, gradient = jax.value_and_grad(loss)(params, *batch)
        return jax.tree.map(lambda w, g: w - 0.1 * g, params, gradient), value

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        _, readings = jax.jit(watch(step, level="full"))(params, *batch)
    found = readings.examples
    return None if found is None else np.asarray(found), [str(w.message) for w in told]


def assert_exact(loss, params, *batch):
    found, told = read(loss, params, *batch)
    assert told == []
    expected = parts(loss, params, *batch)
    assert expected.max() > 1.2 * expected.min()
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def norm(x, scale, bias):
    centred = x - x.mean(-1, keepdims=True)
    return (
        centred
        * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5)
        * (scale)
        + bias
    )


def mlp(p, x, y):
    h = jax.nn.relu(x @ p["w1"] + p["b1"])
    return jnp.square((h @ p["w2"]) * p["scale"] - y + p["shift"]).mean()


MLP = {
    "w1": normal(1, 5, 4),
    "b1": normal(2, 1, 4),
    "w2": normal(3, 4, 3),
    "scale": normal(4, 3),
    "shift": normal(5),
}


def test_of_dense_layers_biases_and_scales() -> None:
    assert_exact(mlp, MLP, normal(6, BATCH, 5), normal(7, BATCH, 3))


def cnn(p, x, y):
    numbers = ("NHWC", "HWIO", "NHWC")
    h = jax.lax.conv_general_dilated(
        x, p["k1"], (2, 2), "SAME", dimension_numbers=numbers
    )
    h = jax.lax.conv_general_dilated(
        jax.nn.gelu(h + p["b1"]), p["k2"], (1, 1), "VALID", rhs_dilation=(2, 1),
        dimension_numbers=numbers, feature_group_count=2,
    )  # fmt: skip
    logits = jax.nn.relu(h).reshape(len(x), -1) @ p["w"]
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1).mean()


def test_of_convolutions_strided_dilated_and_in_groups() -> None:
    params = {
        "k1": normal(1, 3, 3, 2, 4) / 4,
        "b1": normal(2, 4),
        "k2": normal(3, 2, 2, 2, 6) / 4,
        "w": normal(4, 2 * 3 * 6, 3) / 4,
    }
    assert_exact(cnn, params, normal(5, BATCH, 8, 8, 2), jnp.arange(BATCH) % 3)


TOKENS, WIDTH, WORDS, LAYERS, HEADS = 7, 8, 11, 3, 2


def block(x, layer):
    h = norm(x, layer["scale1"], layer["bias1"])
    q, k, v = jnp.split((h @ layer["qkv"]).reshape(*h.shape[:2], HEADS, -1), 3, -1)
    mask = jnp.where(jnp.tril(jnp.ones((h.shape[1],) * 2)), 0, -1e9)
    seen = jax.nn.softmax(jnp.einsum("bthd,bshd->bhts", q, k) / 2 + mask)
    x = x + jnp.einsum("bhts,bshd->bthd", seen, v).reshape(h.shape) @ layer["out"]
    h = norm(x, layer["scale2"], layer["bias2"])
    return x + jax.nn.gelu(h @ layer["up"] + layer["bias"]) @ layer["down"], None


def transformer(p, tokens, *, remat=False):
    x = p["table"][tokens] + p["positions"][: tokens.shape[1]]
    x, _ = jax.lax.scan(jax.checkpoint(block) if remat else block, x, p["blocks"])
    words = p["logits"] if "logits" in p else p["table"].T
    # Examples and tokens in one axis, as many write it.
    logits = x[:, :-1].reshape(-1, WIDTH) @ words
    targets = tokens[:, 1:].reshape(-1, 1)
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), targets, -1).mean()


def transformer_params(*, tied):
    shapes = {
        "scale1": (WIDTH,), "bias1": (WIDTH,), "qkv": (WIDTH, 3 * WIDTH),
        "out": (WIDTH, WIDTH), "scale2": (WIDTH,), "bias2": (WIDTH,),
        "up": (WIDTH, 2 * WIDTH), "bias": (2 * WIDTH,), "down": (2 * WIDTH, WIDTH),
    }  # fmt: skip
    params = {
        "table": normal(1, WORDS, WIDTH),
        "positions": normal(2, TOKENS + 2, WIDTH),
        "blocks": {
            name: normal(10 + i, LAYERS, *shape) / 2
            for i, (name, shape) in enumerate(shapes.items())
        },
        "logits": normal(3, WIDTH, WORDS),
    }
    return {k: v for k, v in params.items() if not tied or k != "logits"}


SENTENCES = jax.random.randint(jax.random.key(9), (BATCH, TOKENS), 0, WORDS)


@pytest.mark.parametrize("remat", [False, True])
def test_of_a_scanned_transformer(remat) -> None:
    def loss(p, tokens):
        return transformer(p, tokens, remat=remat)

    assert_exact(loss, transformer_params(tied=False), SENTENCES)


def test_of_a_table_that_is_also_the_last_layer() -> None:
    assert_exact(transformer, transformer_params(tied=True), SENTENCES)


def rnn(p, x, y):
    def cell(h, x):
        return jnp.tanh(x @ p["w"] + h @ p["u"] + p["b"]), None

    h, _ = jax.lax.scan(cell, jnp.zeros((len(x), 4)), jnp.moveaxis(x, 1, 0))
    return jnp.square(h @ p["out"] - y).mean()


def test_of_weights_that_every_time_step_uses() -> None:
    params = {
        "w": normal(1, 3, 4), "u": normal(2, 4, 4), "b": normal(3, 4),
        "out": normal(4, 4, 2),
    }  # fmt: skip
    assert_exact(rnn, params, normal(5, BATCH, 9, 3), normal(6, BATCH, 2))


def test_of_sequences_with_time_first() -> None:
    params = {
        "w": normal(1, 3, 4), "u": normal(2, 4, 4), "b": normal(3, 4),
        "out": normal(4, 4, 2),
    }  # fmt: skip
    x, y = normal(5, BATCH, 9, 3), normal(6, BATCH, 2)

    def time_first(p, x, y):
        return rnn(p, jnp.moveaxis(x, 0, 1), y)

    found, told = read(time_first, params, jnp.moveaxis(x, 1, 0), y)
    assert told == []
    np.testing.assert_allclose(found, parts(rnn, params, x, y), rtol=1e-4)


def test_of_a_layer_that_is_used_twice() -> None:
    def loss(p, x):
        return jnp.square(jnp.tanh(x @ p["w"].T) @ (p["w"] * 2)).mean()

    assert_exact(loss, {"w": normal(1, 5, 4)}, normal(2, BATCH, 4)[:, :4])


def test_of_layers_chosen_by_a_condition() -> None:
    def loss(p, x):
        h = jax.lax.cond(p["b"][0] > 10, lambda: x @ p["w"], lambda: x @ p["v"] * 2)
        return jnp.square(h + p["b"]).mean()

    params = {"w": normal(1, 4, 3), "v": normal(2, 4, 3), "b": normal(3, 3)}
    assert_exact(loss, params, normal(4, BATCH, 4))


def test_of_a_loss_written_for_one_example() -> None:
    def loss(p, x, y):
        def one(x, y):
            return jnp.square(jnp.tanh(p["w"] @ x + p["b"]) - y).sum()

        return jax.vmap(one)(x, y).mean()

    params = {"w": normal(1, 3, 5), "b": normal(2, 3)}
    assert_exact(loss, params, normal(3, BATCH, 5), normal(4, BATCH, 3))


def test_of_gradients_that_the_program_takes_of_each_example() -> None:
    def step(p, x, y):
        gradients = jax.vmap(jax.grad(mlp), (None, 0, 0))(p, x[:, None], y[:, None])
        return jax.tree.map(lambda w, g: w - g.mean(0), p, gradients)

    x, y = normal(6, BATCH, 5), normal(7, BATCH, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, readings = jax.jit(watch(step, level="full"))(MLP, x, y)
    np.testing.assert_allclose(readings.examples, parts(mlp, MLP, x, y), rtol=1e-4)


def test_the_parts_of_microbatches_stand_in_their_order() -> None:
    def step(p, x, y):
        def add(total, batch):
            gradient = jax.grad(mlp)(p, *batch)
            return jax.tree.map(jnp.add, total, gradient), None

        zeros = jax.tree.map(jnp.zeros_like, p)
        total, _ = jax.lax.scan(add, zeros, (x, y))
        return jax.tree.map(lambda w, g: w - g / 3, p, total)

    x, y = normal(6, 3, BATCH, 5), normal(7, 3, BATCH, 3)
    _, readings = jax.jit(watch(step, level="full"))(MLP, x, y)
    expected = [parts(mlp, MLP, x[i], y[i]) for i in range(3)]
    np.testing.assert_allclose(readings.examples, expected, rtol=1e-4)


def test_in_low_precision_they_are_near() -> None:
    params = jax.tree.map(lambda w: w.astype(jnp.bfloat16), MLP)
    x, y = normal(6, BATCH, 5), normal(7, BATCH, 3)
    found, told = read(mlp, params, x.astype(jnp.bfloat16), y.astype(jnp.bfloat16))
    assert told == []
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, parts(mlp, MLP, x, y), rtol=0.1)


def test_what_is_left_out_is_named() -> None:
    def loss(p, x):
        return jnp.square((x @ p["w"]) * jnp.exp(p["log_scale"])).mean()

    params = {"w": normal(1, 4, 3), "log_scale": normal(2, 3)}
    x = normal(3, BATCH, 4)
    found, told = read(loss, params, x)
    assert len(told) == 1
    assert told[0].endswith("leave out log_scale in mul")

    def known(p, x):
        return loss(p | {"log_scale": params["log_scale"]}, x)

    expected = parts(known, {"w": params["w"]}, x)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_weight_decay_in_the_loss_is_no_part_of_an_example() -> None:
    def loss(p, x, y):
        return mlp(p, x, y) + 0.1 * jnp.square(p["w1"]).sum()

    x, y = normal(6, BATCH, 5), normal(7, BATCH, 3)
    found, told = read(loss, MLP, x, y)
    assert told == []
    np.testing.assert_allclose(found, parts(mlp, MLP, x, y), rtol=1e-4)


def test_a_loss_that_mixes_examples_is_said_to() -> None:
    def loss(p, x):
        h = x @ p["w"]
        return jnp.square((h - h.mean(0)) / h.std(0) * p["scale"] - 1).mean()

    params = {"w": normal(1, 4, 3), "scale": normal(2, 3)}
    found, told = read(loss, params, normal(3, BATCH, 4))
    assert np.isfinite(found).all()
    assert len(told) == 1
    assert told[0].startswith("the loss mixes examples")


def test_without_an_axis_of_examples_there_is_nothing_but_a_note() -> None:
    def loss(p):
        return jnp.square(p["w"] @ jnp.tanh(p["v"])).mean()

    found, told = read(loss, {"w": normal(1, 4, 3), "v": normal(2, 3)})
    assert found is None
    assert len(told) == 1
    assert told[0].startswith("nndiag found no axis of examples")


def test_a_spoilt_example_is_found() -> None:
    x, y = normal(6, BATCH, 5), normal(7, BATCH, 3)
    found, _ = read(mlp, MLP, x, y.at[4].mul(1e4))
    assert found.argmax() == 4
    found, _ = read(mlp, MLP, x, y.at[2, 0].set(jnp.nan))
    assert np.flatnonzero(np.isnan(found)).tolist() == [2]


def test_other_levels_place_no_marks_for_examples() -> None:
    def step(p, x, y):
        return jax.grad(mlp)(p, x, y)

    x, y = normal(6, BATCH, 5), normal(7, BATCH, 3)
    for level in ("light", "standard"):
        _, readings = watch(step, level=level)(MLP, x, y)
        assert readings.examples is None
        assert not level_of(level).examples
