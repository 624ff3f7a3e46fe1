"""What stands in a scan over layers is read layer by layer.

The oracle is the same network with its layers in a Python loop.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nndiag
from nndiag.session.reduction import reduce_readings

LAYERS, WIDTH, ROWS = 5, 6, 7
QUANTITIES = ("mean", "std", "norm", "largest", "saturated", "slope", "cosine")


def params(*leading: int) -> dict:
    keys = jax.random.split(jax.random.key(0), 3)
    shape = (*leading, WIDTH, WIDTH)
    return {
        "blocks": {
            "weight": jax.random.normal(keys[0], shape) / 2,
            "bias": jax.random.normal(keys[1], (*leading, WIDTH)),
        },
        "out": jax.random.normal(keys[2], (WIDTH, 3)),
    }


def block(x, layer):
    with jax.named_scope("mlp"):
        return jnp.tanh(x @ layer["weight"] + layer["bias"])


def scanned(p, x):
    x, _ = jax.lax.scan(lambda x, layer: (block(x, layer), None), x, p["blocks"])
    return jnp.square(x @ p["out"]).mean()


def unrolled(p, x):
    for number in range(LAYERS):
        with jax.named_scope(f"blocks[{number}]"):
            x = block(x, jax.tree.map(lambda leaf, i=number: leaf[i], p["blocks"]))
    return jnp.square(x @ p["out"]).mean()


def step_of(loss):
    def step(p, x):
        value, gradient = jax.value_and_grad(loss)(p, x)
        return jax.tree.map(lambda w, g: w - 0.1 * g - 0.01 * w, p, gradient), value

    return step


def read(step, *arguments, jitted=True):
    watched = nndiag.watch(step)
    _, readings = (jax.jit(watched) if jitted else watched)(*arguments)
    reduced = reduce_readings(jax.device_get(readings))
    assert reduced is not None
    return reduced


def assert_same(ours, theirs, roles):
    for role in roles:
        found, expected = getattr(ours, role), getattr(theirs, role)
        assert expected.keys() <= found.keys()
        for site, stats in expected.items():
            for quantity in QUANTITIES:
                ours_is = getattr(found[site], quantity)
                value = getattr(stats, quantity)
                assert (ours_is is None) == (value is None)
                if value is not None:
                    np.testing.assert_allclose(ours_is, value, rtol=2e-5, atol=1e-6)


X = jax.random.normal(jax.random.key(1), (ROWS, WIDTH))


@pytest.mark.parametrize("jitted", [True, False])
def test_each_layer_reads_as_if_it_stood_alone(jitted) -> None:
    ours = read(step_of(scanned), params(LAYERS), X, jitted=jitted)
    theirs = read(step_of(unrolled), params(LAYERS), X)
    assert {str(site) for site in ours.value} >= {
        f"blocks[{i}]/mlp/tanh" for i in range(LAYERS)
    }
    assert_same(ours, theirs, ("value", "cotangent"))


def test_the_parameters_of_a_layer_are_its_slice() -> None:
    p = params(LAYERS)
    ours = read(step_of(scanned), p, X)
    gradient = jax.grad(scanned)(p, X)
    update = jax.tree.map(lambda w, g: -0.1 * g - 0.01 * w, p, gradient)
    for number in range(LAYERS):
        for name in ("weight", "bias"):
            site = f"blocks[{number}]/{name}"
            g, d, w = (
                np.asarray(tree["blocks"][name][number], np.float64)
                for tree in (gradient, update, p)
            )
            assert ours.gradient[site].norm == pytest.approx(
                np.linalg.norm(g), rel=1e-5
            )
            assert ours.parameter[site].norm == pytest.approx(np.linalg.norm(w))
            assert ours.update[site].norm == pytest.approx(np.linalg.norm(d), rel=1e-4)
            cosine = -(d * g).sum() / np.linalg.norm(d) / np.linalg.norm(g)
            assert ours.update[site].cosine == pytest.approx(cosine, abs=1e-5)


def test_layers_come_in_their_order_and_before_what_follows() -> None:
    ours = read(step_of(scanned), params(LAYERS), X)
    theirs = read(step_of(unrolled), params(LAYERS), X)
    in_order = [
        [str(s) for s in sorted(r.value, key=lambda s: s.order)] for r in (ours, theirs)
    ]
    assert in_order[0] == in_order[1]
    sites = sorted(ours.parameter, key=lambda site: site.order)
    assert [str(site) for site in sites][-1] == "out"
    assert sites[0].shape == (WIDTH, WIDTH)


def test_the_input_is_what_comes_from_outside() -> None:
    ours = read(step_of(scanned), params(LAYERS), X)
    norm = np.linalg.norm(np.asarray(X, np.float64))
    assert ours.value["input"].norm == pytest.approx(norm, rel=1e-5)
    assert [str(s) for s in ours.value if s.kind == "input"] == ["input"]


def checkpointed(p, x):
    def body(x, layer):
        return jax.checkpoint(block)(x, layer), None

    x, _ = jax.lax.scan(body, x, p["blocks"])
    return jnp.square(x @ p["out"]).mean()


def test_recomputed_layers_read_alike() -> None:
    ours = read(step_of(checkpointed), params(LAYERS), X)
    theirs = read(step_of(scanned), params(LAYERS), X)
    assert_same(ours, theirs, ("value", "cotangent", "gradient", "update"))


def test_accumulated_gradients_are_reduced_and_layers_kept() -> None:
    def accumulated(p, xs):
        def add(total, x):
            return jax.tree.map(jnp.add, total, jax.grad(scanned)(p, x)), None

        zero = jax.tree.map(jnp.zeros_like, p)
        total, _ = jax.lax.scan(add, zero, xs)
        return jax.tree.map(lambda w, g: w - g, p, total)

    p, xs = params(LAYERS), jnp.stack([X, 2 * X, X - 1])
    ours = read(accumulated, p, xs)
    norms = [
        np.linalg.norm(np.asarray(jax.grad(scanned)(p, x)["blocks"]["weight"][3]))
        for x in xs
    ]
    expected = np.sqrt(np.square(norms).mean())
    assert ours.gradient["blocks[3]/weight"].norm == pytest.approx(expected, rel=1e-5)


def test_layers_in_groups_have_two_numbers() -> None:
    def grouped(p, x):
        def group(x, layers):
            return jax.lax.scan(lambda x, w: (block(x, w), None), x, layers)

        x, _ = jax.lax.scan(group, x, p["blocks"])
        return jnp.square(x @ p["out"]).mean()

    flat = params(6)
    p = {
        "blocks": {n: a.reshape(2, 3, *a.shape[1:]) for n, a in flat["blocks"].items()},
        "out": flat["out"],
    }
    ours, theirs = read(step_of(grouped), p, X), read(step_of(scanned), flat, X)
    for group in range(2):
        for layer in range(3):
            one = f"blocks[{group}][{layer}]"
            other = f"blocks[{3 * group + layer}]"
            for role, name in (("value", "mlp/tanh"), ("gradient", "weight")):
                assert getattr(ours, role)[f"{one}/{name}"].norm == pytest.approx(
                    getattr(theirs, role)[f"{other}/{name}"].norm, rel=1e-5
                )


def test_a_scan_over_time_is_one_place() -> None:
    def recurrent(p, xs):
        def cell(h, x):
            return jnp.tanh(x @ p["in"] + h @ p["back"]), None

        h, _ = jax.lax.scan(cell, jnp.zeros((ROWS, WIDTH)), xs)
        return jnp.square(h).mean()

    p = {"in": jnp.eye(WIDTH), "back": jnp.eye(WIDTH) / 2}
    ours = read(step_of(recurrent), p, jnp.stack([X, X, X]))
    assert "tanh" in ours.value
    assert ours.parameter.keys() == {"in", "back"}


def test_a_stack_of_recurrent_layers_keeps_layers_and_averages_time() -> None:
    def loss(p, xs):
        def layer(xs, w):
            def cell(h, x):
                h = jnp.tanh(x @ w["weight"] + h + w["bias"])
                return h, h

            _, xs = jax.lax.scan(cell, jnp.zeros((ROWS, WIDTH)), xs)
            return xs, None

        xs, _ = jax.lax.scan(layer, xs, p["blocks"])
        return jnp.square(xs @ p["out"]).mean()

    p, xs = params(2), jnp.stack([X, X + 1, X - 1, 2 * X])
    ours = read(step_of(loss), p, xs)
    h, means = np.zeros((ROWS, WIDTH)), []
    weight, bias = (
        np.asarray(p["blocks"][n][0], np.float64) for n in ("weight", "bias")
    )
    for x in np.asarray(xs, np.float64):
        h = np.tanh(x @ weight + h + bias)
        means.append(h.mean())
    assert ours.value["blocks[0]/tanh"].mean == pytest.approx(np.mean(means), rel=1e-4)
    assert "blocks[1]/tanh" in ours.value


def test_shared_weights_in_a_scan_are_not_split() -> None:
    def loss(p, x):
        def body(x, scale):
            return jnp.tanh(x @ p["shared"]) * scale["gain"], None

        x, _ = jax.lax.scan(body, x, {"gain": p["gain"]})
        return jnp.square(x).mean()

    p = {"shared": jnp.eye(WIDTH), "gain": jnp.ones((4, WIDTH))}
    ours = read(step_of(loss), p, X)
    assert ours.gradient.keys() == {"shared", *(f"gain[{i}]" for i in range(4))}


def test_under_a_scan_of_steps_the_layers_stay() -> None:
    def steps(p, xs):
        def body(p, x):
            (p, _), readings = nndiag.watch(step_of(scanned))(p, x)
            return p, readings

        return jax.lax.scan(body, p, xs)

    _, readings = jax.jit(steps)(params(LAYERS), jnp.stack([X, X]))
    assert readings.gradient["blocks[*]/weight"].norm.shape == (2, LAYERS)


def test_a_watched_scan_trains_the_same_bits() -> None:
    step, p = step_of(scanned), params(LAYERS)
    bare, _ = jax.jit(step)(p, X)
    (seen, _), _ = jax.jit(nndiag.watch(step))(p, X)
    for ours, theirs in zip(jax.tree.leaves(seen), jax.tree.leaves(bare), strict=True):
        assert (np.asarray(ours) == np.asarray(theirs)).all()


def test_layers_that_run_last_to_first_stand_in_that_order() -> None:
    def backwards(p, x):
        x, _ = jax.lax.scan(
            lambda x, layer: (block(x, layer), None), x, p["blocks"], reverse=True
        )
        return jnp.square(x @ p["out"]).mean()

    ours = read(step_of(backwards), params(LAYERS), X)
    activations = [site for site in ours.value if site.kind == "activation"]
    in_order = sorted(activations, key=lambda site: site.order)
    numbers = [str(site)[len("blocks[")] for site in in_order]
    assert numbers == [str(number) for number in reversed(range(LAYERS))]
    weights = [site for site in ours.parameter if str(site).endswith("weight")]
    first = min(weights, key=lambda site: site.order)
    assert str(first) == f"blocks[{LAYERS - 1}]/weight"
    assert max(ours.parameter, key=lambda site: site.order) == "out"


@pytest.mark.parametrize("turned", [lambda w: w[::-1], lambda w: w[jnp.array([1, 0])]])
def test_weights_in_another_order_are_not_numbered_by_it(turned) -> None:
    def loss(p, x):
        blocks = jax.tree.map(turned, p["blocks"])
        x, _ = jax.lax.scan(lambda x, layer: (block(x, layer), None), x, blocks)
        return jnp.square(x @ p["out"]).mean()

    ours = read(step_of(loss), params(2), X)
    assert {"blocks/weight", "blocks/bias", "out"} == set(ours.gradient)


def test_a_scan_over_no_layers_is_no_place() -> None:
    p = {**params(LAYERS), "empty": {"weight": jnp.ones((0, WIDTH, WIDTH))}}

    def loss(p, x):
        body = lambda x, layer: (jnp.tanh(x @ layer["weight"]), None)  # noqa: E731
        x, _ = jax.lax.scan(body, x, p["empty"])
        return scanned(p, x)

    ours = read(step_of(loss), p, X)
    assert not [site for site in ours.value if "empty" in site or "[*]" in site]


@pytest.mark.parametrize("members", [2, LAYERS])
def test_an_ensemble_of_scanned_layers_has_no_updates_by_layer(members) -> None:
    p = jax.tree.map(lambda w: jnp.stack([w] * members), params(LAYERS))

    def step(p, x):
        gradient = jax.vmap(jax.grad(scanned), (0, None))(p, x)
        return jax.tree.map(lambda w, g: w - 0.1 * g, p, gradient)

    ours = read(step, p, X)
    assert set(ours.update) == {"out"}
    norm = np.linalg.norm(np.asarray(p["blocks"]["weight"][:, 3], np.float64))
    assert ours.parameter["blocks[3]/weight"].norm == pytest.approx(norm, rel=1e-5)


@pytest.mark.parametrize(
    "wrap",
    [jax.jit, jax.checkpoint, lambda f: jax.jit(jax.checkpoint(f))],
    ids=["jit", "checkpoint", "checkpoint in jit"],
)
def test_a_whole_scan_in_a_function_of_its_own_reads_the_same(wrap) -> None:
    def network(weights, x):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, weights)[0]

    def read(network):
        def step(weights, x):
            loss = lambda w: jnp.square(network(w, x)).mean()  # noqa: E731
            return weights - 0.1 * jax.grad(loss)(weights)

        return jax.jit(nndiag.watch(step))(weights, jnp.ones((5, 8)))

    weights = 0.3 * jax.random.normal(jax.random.key(0), (4, 8, 8))
    bare, plain = read(network)
    wrapped, readings = read(wrap(network))
    np.testing.assert_allclose(wrapped, bare, rtol=1e-6)
    assert "parameter[*]/tanh" in plain.value
    assert readings.value.keys() == plain.value.keys()
    mean = readings.value["parameter[*]/tanh"].mean
    expected = plain.value["parameter[*]/tanh"].mean
    np.testing.assert_allclose(mean, expected, rtol=1e-5)
    for site, stats in plain.gradient.items():
        np.testing.assert_allclose(readings.gradient[site].norm, stats.norm, rtol=1e-5)
    assert readings.numbers.size == plain.numbers.size  # no row stands there twice
