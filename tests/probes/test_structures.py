"""Attention, normalisation, dropout, embeddings and residual branches are recognised.

The numbers are checked against float64 NumPy on what the program itself returns.
"""

import importlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nndiag
from nndiag.records import unpack_rows
from nndiag.session.reduction import reduce_readings

B, T, H, D = 3, 10, 2, 4
W = H * D
KINDS = ("attention", "normalisation", "dropout", "residual")


def readings_of(loss, *arguments):
    watched = jax.jit(nndiag.watch(jax.grad(loss)))
    reduced = reduce_readings(jax.device_get(watched(*arguments)[1]))
    assert reduced is not None
    return reduced


def seen_in(loss, *arguments):
    """The structures that are recognised; nothing is compiled."""
    found = {}

    def step(*given):
        found.update(structures(nndiag.watch(jax.grad(loss))(*given)[1]))

    jax.eval_shape(step, *arguments)
    return found


def tables_in(loss, *arguments):
    """The shapes of the tables whose rows are watched."""
    found = []

    def step(*given):
        _, readings = nndiag.watch(jax.grad(loss))(*given)
        sites = readings.gradient.items()
        found.extend(site.shape for site, stats in sites if stats.rows is not None)

    jax.eval_shape(step, *arguments)
    return found


def structures(readings):
    return {
        str(place): (site.kind, site.function)
        for site in readings.value
        if site.kind in KINDS
        for place in site.layers()
    }


def kinds_in(loss, *arguments):
    return [kind for kind, _ in seen_in(loss, *arguments).values()]


X = jax.random.normal(jax.random.key(0), (B, T, W))
MATRICES = jax.random.normal(jax.random.key(1), (4, W, W)) / 2
MASK = np.tril(np.ones((T, T), bool))


# ---- attention


def split(x):
    return x.reshape(*x.shape[:-1], H, D)


def divided(x):
    powers = jnp.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def unsafe(x):
    return jnp.exp(x) / jnp.exp(x).sum(-1, keepdims=True)


def by_inverse(x):
    powers = jnp.exp(x - jax.lax.stop_gradient(jnp.max(x, -1, keepdims=True)))
    return powers * (1 / jnp.sum(powers, -1, keepdims=True))


def by_logarithm(x):
    return jnp.exp(x - jax.nn.logsumexp(x, -1, keepdims=True))


SOFTMAXES = {
    "jax.nn": jax.nn.softmax,
    "log_softmax": lambda x: jnp.exp(jax.nn.log_softmax(x)),
    "divided": divided,
    "jitted": jax.jit(divided),
    "unsafe": unsafe,
    "by_inverse": by_inverse,
    "by_logarithm": by_logarithm,
    "half": lambda x: jax.nn.softmax(x.astype(jnp.bfloat16)).astype(jnp.float32),
    "remat": jax.checkpoint(divided),
}
MASKS = {
    "none": lambda s: s,
    "inf": lambda s: jnp.where(MASK, s, -jnp.inf),
    "1e9": lambda s: jnp.where(MASK, s, -1e9),
    "added": lambda s: s + jnp.where(MASK, 0.0, -1e9),
    "capped": lambda s: jnp.where(MASK, 5 * jnp.tanh(s / 5), -1e30),
}


def attend(p, x, softmax=jax.nn.softmax, mask=MASKS["inf"]):
    """Attention with heads; also returns its weights and logits."""
    queries, keys, values = (split(x @ p[i]) for i in range(3))
    scores = mask(jnp.einsum("bqhd,bkhd->bhqk", queries, keys) / np.sqrt(D))
    weights = softmax(scores)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, values).reshape(x.shape)
    return mixed @ p[3], weights, scores


def entropy(weights, axes):
    p = np.asarray(weights, np.float64)
    nats = np.zeros_like(p)
    nats[p > 0] = -p[p > 0] * np.log(p[p > 0])
    return nats.sum(-1).mean(axes) / np.log(p.shape[-1])


def largest(scores, axes):
    s = np.asarray(scores, np.float64)
    return np.where(s > -1e8, s, -np.inf).max((*axes, -1))


HEADS = {f"attention/head[{head}]": ("attention", "softmax") for head in range(H)}


@pytest.mark.parametrize(
    ("softmax", "mask"),
    [*((softmax, "inf") for softmax in SOFTMAXES), *(("divided", m) for m in MASKS)],
)
def test_attention_is_recognised_however_it_is_written(softmax, mask):
    options = {"softmax": SOFTMAXES[softmax], "mask": MASKS[mask]}
    loss = lambda p, x: attend(p, x, **options)[0].sum()  # noqa: E731
    assert seen_in(loss, MATRICES, X) == HEADS


@pytest.mark.parametrize(
    ("softmax", "mask"),
    [("jax.nn", "inf"), ("divided", "1e9"), ("remat", "capped"), ("half", "added")],
)
def test_attention_is_read_head_by_head(softmax, mask):
    options = {"softmax": SOFTMAXES[softmax], "mask": MASKS[mask]}
    readings = readings_of(
        lambda p, x: jnp.square(attend(p, x, **options)[0]).mean(), MATRICES, X
    )
    _, weights, scores = attend(MATRICES, X, **options)
    rtol = 2e-2 if softmax == "half" else 1e-4
    for head in range(H):
        stats = readings.value[f"attention/head[{head}]"]
        expected = entropy(weights, (0, 2))[head]
        np.testing.assert_allclose(stats.entropy, expected, rtol=rtol)
        bound = largest(scores, (0, 2))[head]
        np.testing.assert_allclose(stats.largest, bound, rtol=rtol)
    assert "logits" not in readings.value


def test_of_many_queries_evenly_spaced_ones_are_read():
    x = jax.random.normal(jax.random.key(3), (64, T, W))
    readings = readings_of(lambda p, x: attend(p, x)[0].sum(), MATRICES, x)
    _, weights, _ = attend(MATRICES, x)
    exact = entropy(weights, (0, 2))
    found = [readings.value[f"attention/head[{h}]"].entropy for h in range(H)]
    np.testing.assert_allclose(found, exact, atol=0.02)
    spaced = entropy(weights[1::3], (0, 2))
    np.testing.assert_allclose(found, spaced, rtol=1e-5)


def test_uniform_weights_have_the_entropy_1_and_those_of_one_key_0():
    def loss(p, x, scale, offset):
        return attend(p, x, mask=lambda s: s * scale + offset)[0].sum()

    watched = jax.jit(nndiag.watch(jax.grad(loss)))
    for scale, offset, expected in ((0.0, 0.0, 1.0), (1e4, 0.0, 0.0), (0, -1e9, 1.0)):
        _, readings = watched(MATRICES, X, scale, offset)
        (stats,) = (r for s, r in readings.value.items() if s.kind == "attention")
        np.testing.assert_allclose(stats.entropy, expected, atol=1e-3)
        if offset:  # no query has a key: there is no logit
            np.testing.assert_allclose(stats.largest, -1e8)


def dot_product(p, x):
    queries, keys, values = (split(x @ p[i]) for i in range(3))
    mixed = jax.nn.dot_product_attention(queries, keys, values, is_causal=True)
    return mixed.reshape(x.shape) @ p[3]


def of_one_example(p, x):
    queries, keys, values = (split(x @ p[i]) for i in range(3))
    scores = jnp.einsum("qhd,khd->hqk", queries, keys) / np.sqrt(D)
    weights = jax.nn.softmax(jnp.where(MASK, scores, -1e9))
    return jnp.einsum("hqk,khd->qhd", weights, values).reshape(x.shape) @ p[3]


def of_one_head(q, k, v):
    return jax.nn.softmax(jnp.where(MASK, q @ k.T / np.sqrt(D), -1e9)) @ v


def of_mapped_heads(p, x):
    queries, keys, values = (split(x @ p[i]) for i in range(3))
    mixed = jax.vmap(of_one_head, in_axes=1, out_axes=1)(queries, keys, values)
    return mixed.reshape(x.shape) @ p[3]


FORMS = {
    "jax.nn.dot_product_attention": dot_product,
    "mapped over examples": jax.vmap(of_one_example, in_axes=(None, 0)),
    "mapped over heads and examples": jax.vmap(of_mapped_heads, in_axes=(None, 0)),
    "remat": jax.checkpoint(dot_product),
    "jit": jax.jit(dot_product),
}


@pytest.mark.parametrize("form", FORMS)
def test_other_forms_of_the_same_attention_read_alike(form):
    readings = readings_of(lambda p, x: FORMS[form](p, x).sum(), MATRICES, X)
    assert structures(readings) == HEADS
    _, weights, scores = attend(MATRICES, X)
    for head in range(H):
        stats = readings.value[f"attention/head[{head}]"]
        expected = entropy(weights, (0, 2))[head]
        np.testing.assert_allclose(stats.entropy, expected, rtol=1e-4)
        bound = largest(scores, (0, 2))[head]
        np.testing.assert_allclose(stats.largest, bound, rtol=1e-4)


def test_the_softmax_of_the_loss_and_one_over_a_weight_are_no_attention():
    def loss(p, x):
        routed = divided(x @ p[0])  # of a product with a weight
        chosen = jnp.einsum("bte,bted->btd", routed, x[..., None] * x[..., None, :])
        logits = (chosen + x.cumsum(1)) @ p[1]
        powers = divided(logits)
        return -jnp.log(powers[..., 0]).mean()

    readings = readings_of(loss, MATRICES, X)
    assert structures(readings) == {}
    assert "logits" in readings.value


def test_the_output_after_an_attention_stays_the_logits():
    def loss(p, x):
        out, _, _ = attend(p, x, softmax=divided)
        return -jnp.log(divided(out)[..., 0]).mean()

    readings = readings_of(loss, MATRICES, X)
    assert structures(readings) == HEADS
    out, _, _ = attend(MATRICES, X)
    expected = float(jnp.linalg.norm(out))
    assert readings.value["logits"].norm == pytest.approx(expected, rel=1e-4)


# ---- normalisation

EPSILON = 1e-5


def layer_norm(x, scale=2.0):
    mean = x.mean(-1, keepdims=True)
    return scale * (x - mean) / jnp.sqrt(x.var(-1, keepdims=True) + EPSILON)


def by_moments(x):
    mean, square = x.mean(-1, keepdims=True), jnp.square(x).mean(-1, keepdims=True)
    variance = jnp.maximum(square - jnp.square(mean), 0)
    return (x - mean) * (jax.lax.rsqrt(variance + EPSILON) * jnp.arange(1.0, W + 1))


def rms_norm(x):
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + EPSILON)


def batch_norm(x):
    return (x - x.mean((0, 1))) / jnp.sqrt(x.var((0, 1)) + EPSILON) + 1.0


def of_half(x):
    wide = x.astype(jnp.float32)
    square = jnp.mean(wide**2, -1, keepdims=True)
    return (wide / jnp.sqrt(square + EPSILON)).astype(x.dtype)


NORMS = {
    "layer": (layer_norm, "layer_norm"),
    "moments": (by_moments, "layer_norm"),
    "example": (jax.vmap(jax.vmap(layer_norm)), "layer_norm"),
    "standardize": (jax.nn.standardize, "layer_norm"),
    "rms": (rms_norm, "rms_norm"),
    "power": (
        lambda x: x * ((x**2).mean(-1, keepdims=True) + 1e-6) ** -0.5,
        "rms_norm",
    ),
    "jit": (jax.jit(rms_norm), "rms_norm"),
    "remat": (jax.checkpoint(rms_norm), "rms_norm"),
    "half": (of_half, "rms_norm"),
    "batch": (batch_norm, "batch_norm"),
    "jitted batch": (jax.jit(batch_norm), "batch_norm"),
}


@pytest.mark.parametrize("form", NORMS)
def test_a_normalisation_is_recognised_however_it_is_written(form):
    normalise, function = NORMS[form]
    loss = lambda p, x: jnp.sin(normalise(3 + x @ p[0])).mean()  # noqa: E731
    assert seen_in(loss, MATRICES, X) == {"normalisation": ("normalisation", function)}


@pytest.mark.parametrize("form", ["layer", "rms", "jitted batch"])
def test_a_normalisation_shows_what_comes_in(form):
    normalise, _ = NORMS[form]
    readings = readings_of(
        lambda p, x: jnp.sin(normalise(3 + x @ p[0])).mean(), MATRICES, X
    )
    stats = readings.value["normalisation"]
    source = np.asarray(3 + X @ MATRICES[0], np.float64)
    np.testing.assert_allclose(stats.mean, source.mean(), rtol=1e-4)
    np.testing.assert_allclose(stats.std, source.std(), rtol=1e-4)
    np.testing.assert_allclose(stats.norm, np.linalg.norm(source), rtol=1e-4)
    np.testing.assert_allclose(stats.largest, np.abs(source).max(), rtol=1e-4)


@pytest.mark.parametrize(
    "plain",
    [
        lambda x: x / jnp.linalg.norm(x, axis=-1, keepdims=True),
        lambda x: x * jax.lax.rsqrt(1 + x * x),
        lambda x: x / jnp.sqrt(jnp.abs(x).mean() + 1),
        lambda x: x - x.mean(-1, keepdims=True),
        lambda x: (x - x.mean()) / x.max(),
        lambda x: x / jnp.sqrt(jnp.square(jnp.sin(x)).mean(-1, keepdims=True) + 1),
    ],
)
def test_other_quotients_are_no_normalisation(plain):
    assert seen_in(lambda p, x: plain(x @ p[0]).sum(), MATRICES, X) == {}


# ---- dropout


def where_dropped(key, x):
    return jnp.where(jax.random.bernoulli(key, 0.7, x.shape), x / 0.7, 0)


def otherwise_dropped(key, x):
    return jnp.where(jax.random.uniform(key, x.shape) < 0.3, 0.0, x / 0.7)


def multiplied(key, x):
    return x * (jax.random.bernoulli(key, 0.7, x.shape) / 0.7)


@pytest.mark.parametrize(
    ("form", "key"),
    [
        (where_dropped, jax.random.key(5)),
        (otherwise_dropped, jax.random.PRNGKey(5)),
        (multiplied, jax.random.key(5)),
    ],
)
def test_the_share_that_dropout_drops_is_counted(form, key):
    def loss(p, key, x):
        return jnp.square(form(key, 1 + x @ p[0])).sum()

    readings = readings_of(loss, MATRICES, key, X)
    assert structures(readings) == {"dropout": ("dropout", "dropout")}
    share = float((form(key, 1.0 + 0 * X) == 0).mean())
    assert 0.2 < share < 0.4
    assert readings.value["dropout"].zero == pytest.approx(share, abs=1e-6)


def test_noise_masks_of_data_and_relu_are_no_dropout():
    def loss(p, key, x):
        noisy = x @ p[0] + jax.random.normal(key, x.shape)
        scaled = noisy * jax.random.normal(key, x.shape)
        masked = jnp.where(x > 0, scaled, 0.0)
        swapped = jnp.where(jax.random.bernoulli(key, 0.5, (B, 1, 1)), masked, -masked)
        return jnp.square(jax.nn.relu(swapped)).sum()

    assert seen_in(loss, MATRICES, jax.random.key(0), X) == {}


# ---- residual branches


def mlp(p, x):
    return jax.nn.gelu(x @ p[0]) @ p[1]


def test_the_ratio_of_branch_to_stream():
    def loss(p, x):
        first = x @ p[2]
        second = 0.5 * mlp(p, rms_norm(first)) + first
        third = second + mlp(p[1:], layer_norm(second))
        return jnp.square(third).sum()

    readings = readings_of(loss, MATRICES, X)
    first = X @ MATRICES[2]
    branch = 0.5 * mlp(MATRICES, rms_norm(first))
    second = first + branch
    other = mlp(MATRICES[1:], layer_norm(second))
    for key, added, stream in (
        ("residual", branch, first),
        ("residual#2", other, second),
    ):
        stats = readings.value[key]
        sizes = [np.linalg.norm(np.asarray(a, np.float64)) for a in (added, stream)]
        np.testing.assert_allclose(stats.norm, sizes[0], rtol=1e-4)
        np.testing.assert_allclose(stats.ratio, sizes[0] / sizes[1], rtol=1e-4)
    assert [k for k, _ in structures(readings).values()].count("residual") == 2


def test_parallel_branches_of_one_stream_are_two():
    def loss(p, x):
        x = x @ p[2]
        return jnp.square(x + mlp(p, x) + jnp.tanh(x @ p[3])).sum()

    assert kinds_in(loss, MATRICES, X) == ["residual"] * 2


def test_sums_that_no_layer_leads_through_are_no_residual():
    def loss(p, x):
        a, b = x @ p[0], x @ p[1]
        gelu = jax.nn.gelu(a + b + p[2, 0])  # two branches; a bias; a + 0.04 a³
        return jnp.square(gelu + jnp.sin(gelu)).sum() + jnp.square(p).sum()

    assert seen_in(loss, MATRICES, X) == {}


# ---- scans


def block(p, x):
    x = x + attend(p, rms_norm(x))[0]
    return x + mlp(p, layer_norm(x))


@pytest.mark.parametrize("wrap", [lambda f: f, jax.checkpoint])
def test_scanned_layers_read_as_those_that_stand_in_a_row(wrap):
    layers = jnp.stack([MATRICES, 1.5 * MATRICES[::-1], 0.3 * MATRICES])

    def scanned(p, x):
        body = wrap(lambda x, layer: (block(layer, x), None))
        x, _ = jax.lax.scan(body, x, p["blocks"])
        return jnp.square(x).mean()

    def unrolled(p, x):
        for number in range(3):
            with jax.named_scope(f"blocks[{number}]"):
                x = block(p["blocks"][number], x)
        return jnp.square(x).mean()

    found = readings_of(scanned, {"blocks": layers}, X)
    expected = readings_of(unrolled, {"blocks": layers}, X)
    wanted = structures(expected)
    assert structures(found) == wanted
    assert len(wanted) == 3 * (H + 2 + 2)
    for key in wanted:
        for name, value in expected.value[key]._asdict().items():
            if value is not None:
                ours = getattr(found.value[key], name)
                np.testing.assert_allclose(ours, value, rtol=1e-4)


def test_gradients_per_example_keep_the_heads():
    def step(p, x):
        one = jax.grad(lambda p, x: jnp.square(block(p, x[None])).mean())
        return jax.vmap(one, in_axes=(None, 0))(p, x)

    _, readings = jax.jit(nndiag.watch(step))(MATRICES, X)
    reduced = reduce_readings(jax.device_get(readings))
    whole = readings_of(lambda p, x: block(p, x).sum(), MATRICES, X)
    assert structures(reduced) == structures(whole)
    for head in range(H):
        key = f"attention/head[{head}]"
        ours, theirs = reduced.value[key], whole.value[key]
        np.testing.assert_allclose(ours.entropy, theirs.entropy, rtol=1e-4)
        np.testing.assert_allclose(ours.largest, theirs.largest, rtol=1e-4)


# ---- embeddings


def touched(readings, key, rows):
    return unpack_rows(readings.gradient[key].rows, rows)


@pytest.mark.parametrize("take", [lambda t, i: t[i], partial(jnp.take, axis=0)])
def test_the_rows_of_a_table_that_have_a_gradient(take):
    rows, ids = 37, np.array([[3, 3, 36], [0, 17, 5]])

    def loss(p, ids):
        x = take(p["table"], ids) * (ids != 5)[..., None]  # a masked id has none
        return jnp.square(x @ p["w"]).sum()

    p = {"table": jnp.ones((rows, W)), "w": MATRICES[0]}
    readings = readings_of(loss, p, ids)
    expected = np.zeros(rows, bool)
    expected[[0, 3, 17, 36]] = True
    np.testing.assert_array_equal(touched(readings, "table", rows), expected)
    assert readings.gradient["w"].rows is None


def test_of_a_large_table_evenly_spaced_rows_are_watched():
    rows = 3 * 65_536 - 1
    ids = np.array([0, 2, 3, rows - 1])
    readings = readings_of(
        lambda t, i: jnp.square(1 + t[i]).sum(), jnp.zeros((rows, 2)), ids
    )
    found = touched(readings, "parameter", rows)
    assert len(found) == 65_536
    assert np.flatnonzero(found).tolist() == [0, 1]


def test_microbatches_add_up_and_a_branch_not_taken_touches_nothing():
    def one(table, ids):
        return jax.lax.cond(
            ids[0] < 100,
            lambda: jax.grad(lambda t: jnp.square(1 + t[ids]).sum())(table),
            lambda: jnp.zeros_like(table),
        )

    def step(table, ids):
        def body(total, some):
            return total + one(table, some), None

        total, _ = jax.lax.scan(body, jnp.zeros_like(table), ids)
        return table - total

    ids = np.array([[1, 2], [120, 7], [3, 2]])
    _, readings = jax.jit(nndiag.watch(step))(jnp.zeros((20, 2)), ids)
    reduced = reduce_readings(jax.device_get(readings))
    found = touched(reduced, "parameter", 20)
    assert np.flatnonzero(found).tolist() == [1, 2, 3]


# ---- libraries


def linen():
    nn = importlib.import_module("flax.linen")

    class Model(nn.Module):
        @nn.compact
        def __call__(self, ids):
            x = nn.Embed(20, W)(ids)
            y = nn.MultiHeadDotProductAttention(
                H, dropout_rate=0.1, deterministic=False
            )(nn.LayerNorm()(x))
            x = x + nn.Dropout(0.2, deterministic=False)(y)
            x = x + nn.Dense(W)(nn.gelu(nn.Dense(W)(nn.RMSNorm()(x))))
            return nn.BatchNorm(False)(x)

    model = Model()
    ids = jnp.arange(B * T).reshape(B, T) % 20
    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    variables = model.init(rngs, ids)
    rest = {"batch_stats": variables["batch_stats"]}

    def loss(p, ids):
        out, _ = model.apply(
            {"params": p, **rest}, ids, rngs=rngs, mutable=["batch_stats"]
        )
        return jnp.square(out - 1).mean()

    return loss, variables["params"], ids


def nnx():
    nnx = importlib.import_module("flax.nnx")

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.embed = nnx.Embed(20, W, rngs=rngs)
            self.first = nnx.LayerNorm(W, rngs=rngs)
            self.second = nnx.RMSNorm(W, rngs=rngs)
            self.attend = nnx.MultiHeadAttention(
                H, W, dropout_rate=0.1, deterministic=False, decode=False, rngs=rngs
            )
            self.drop = nnx.Dropout(0.2, rngs=rngs)
            self.up, self.down = (
                nnx.Linear(W, W, rngs=rngs),
                nnx.Linear(W, W, rngs=rngs),
            )
            self.last = nnx.BatchNorm(W, rngs=rngs)

        def __call__(self, ids):
            x = self.embed(ids)
            x = x + self.drop(self.attend(self.first(x)))
            x = x + self.down(nnx.gelu(self.up(self.second(x))))
            return self.last(x)

    structure, params, rest = nnx.split(Model(nnx.Rngs(0)), nnx.Param, ...)

    def loss(p, ids):
        out = nnx.merge(structure, p, rest, copy=True)(ids)
        return jnp.square(out - 1).mean()

    return loss, params, jnp.arange(B * T).reshape(B, T) % 20


def equinox():
    eqx = importlib.import_module("equinox")
    keys = jax.random.split(jax.random.key(0), 8)
    model = {
        "embed": eqx.nn.Embedding(20, W, key=keys[0]),
        "first": eqx.nn.LayerNorm(W),
        "second": eqx.nn.RMSNorm(W),
        "attend": eqx.nn.MultiheadAttention(H, W, dropout_p=0.1, key=keys[1]),
        "up": eqx.nn.Linear(W, W, key=keys[2]),
        "down": eqx.nn.Linear(W, W, key=keys[3]),
    }
    drop = eqx.nn.Dropout(0.2)
    params, rest = eqx.partition(model, eqx.is_inexact_array)

    def of_one(p, ids, key):
        m = eqx.combine(p, rest)
        x = jax.vmap(m["embed"])(ids)
        y = jax.vmap(m["first"])(x)
        x = x + drop(m["attend"](y, y, y, key=key), key=key)
        hidden = jax.nn.gelu(jax.vmap(m["up"])(jax.vmap(m["second"])(x)))
        return batch_norm(x + jax.vmap(m["down"])(hidden))

    def loss(p, ids):
        keys = jax.random.split(jax.random.key(1), B)
        return jnp.square(jax.vmap(of_one, (None, 0, 0))(p, ids, keys) - 1).mean()

    return loss, params, jnp.arange(B * T).reshape(B, T) % 20


def haiku():
    hk = importlib.import_module("haiku")

    def forward(ids):
        x = hk.Embed(20, W)(ids)
        y = hk.LayerNorm(-1, True, True)(x)
        initialiser = hk.initializers.VarianceScaling()
        y = hk.MultiHeadAttention(H, D, w_init=initialiser, model_size=W)(y, y, y)
        y = hk.dropout(hk.next_rng_key(), 0.1, y)
        x = x + hk.dropout(hk.next_rng_key(), 0.2, y)
        hidden = jax.nn.gelu(hk.Linear(W)(hk.RMSNorm(-1)(x)))
        return hk.BatchNorm(True, True, 0.9)(x + hk.Linear(W)(hidden), True)

    model = hk.transform_with_state(forward)
    ids = jnp.arange(B * T).reshape(B, T) % 20
    params, state = model.init(jax.random.key(0), ids)

    def loss(p, ids):
        out, _ = model.apply(p, state, jax.random.key(1), ids)
        return jnp.square(out - 1).mean()

    return loss, params, ids


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the libraries
@pytest.mark.parametrize("library", [linen, nnx, equinox, haiku])
def test_the_libraries_own_layers_are_recognised(library):
    name = library.__name__
    pytest.importorskip("flax" if name in ("linen", "nnx") else name)
    loss, params, ids = library()
    found = list(seen_in(loss, params, ids).values())
    assert found.count(("attention", "softmax")) == H
    assert found.count(("dropout", "dropout")) == 2
    assert found.count(("residual", "")) == 2
    last = "layer_norm" if library is equinox else "batch_norm"  # mapped by example
    norms = [function for kind, function in found if kind == "normalisation"]
    assert sorted(norms) == sorted(["layer_norm", "rms_norm", last])
    assert tables_in(loss, params, ids) == [(20, W)]
