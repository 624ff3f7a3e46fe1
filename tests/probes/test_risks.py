"""Operations that can leave their type's range are watched, and warned of in time."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

import mnist_model
import nndiag
from nndiag.probes import watch
from nndiag.probes.peaks import Operation, peak

W = np.array([0.25, 2.0, 3.5, 5.0], np.float32)
C = np.array([7.0, -2.0, 1.0, 9.0], np.float32)


def half(x):
    return x.astype(np.float16)


# primitive: (program, largest that is made forwards, that is made backwards), in x.
OPERATIONS = {
    "exp": (jnp.exp, lambda x: np.exp(x.max()), lambda x: np.exp(x.max())),
    "exp2": (jnp.exp2, lambda x: 2**5.0, lambda x: np.log(2) * 2**5.0),
    "expm1": (jnp.expm1, lambda x: np.expm1(5.0), lambda x: np.exp(5.0)),
    "cosh": (lax.cosh, lambda x: np.cosh(5.0), lambda x: np.sinh(5.0)),
    "log": (jnp.log, lambda x: 4.0, lambda x: 4.0),
    "log1p": (jnp.log1p, lambda x: 0.8, lambda x: 0.8),
    "sqrt": (jnp.sqrt, lambda x: 1.0, lambda x: 1.0),
    "rsqrt": (lax.rsqrt, lambda x: 0.25**-1.5, lambda x: 0.5 * 0.25**-1.5),
    "div": (lambda x: C / x, lambda x: max(abs(C / x).max(), 16.0), lambda x: 112.0),
    "integer_pow": (lambda x: x**3, lambda x: 125.0, lambda x: 75.0),
    "pow": (lambda x: x**2.5, lambda x: 5.0**2.5, lambda x: 2.5 * 5.0**1.5),
    "square": (jnp.square, lambda x: 25.0, lambda x: 10.0),
    "mul": (lambda x: x * x, lambda x: 25.0, lambda x: 5.0),
    "convert_element_type": (
        lambda x: half(1e3 * x).astype(np.float32),
        lambda x: 5e3,
        None,
    ),
}


def operations(readings, role="value"):
    """Primitive of each watched operation to its largest magnitude."""
    found = getattr(readings, role)
    return {
        site.function: float(np.max(stats.largest))
        for site, stats in found.items()
        if site.kind == "operation"
    }


def watched(loss, *arguments, level="standard", jit=True):
    step = watch(jax.value_and_grad(loss), level=level)
    (value, _), readings = (jax.jit(step) if jit else step)(*arguments)
    assert np.isfinite(value)
    return readings


@pytest.mark.parametrize("name", OPERATIONS)
def test_headroom_matches_float64_numpy(name):
    program, forward, backward = OPERATIONS[name]
    readings = watched(lambda w: program(w).sum(), W)
    exact = W.astype(np.float64)
    assert operations(readings)[name] == pytest.approx(forward(exact), rel=1e-5)
    found = operations(readings, "cotangent").get(name)
    if backward is None:
        assert found is None
    else:
        assert found == pytest.approx(backward(exact), rel=1e-5)


def test_dots_and_sums_are_watched_where_the_range_is_small():
    x = np.linspace(-9, 9, 12).reshape(3, 4)

    def loss(w, x):
        return lax.reduce(x @ w, half(np.array(0)), lax.add, (0,)).astype(np.float32)

    found = operations(watched(loss, half(W), half(x)))
    exact = x.astype(np.float16).astype(np.float64) @ W
    assert found["dot_general"] == pytest.approx(abs(exact).max(), rel=2e-3)
    assert found["reduce_sum"] == pytest.approx(abs(exact.sum()), rel=2e-2, abs=0.05)
    assert (
        operations(watched(lambda w, x: (x @ w).sum(), W, x.astype(np.float32))) == {}
    )


def loss_of(scores):
    """By hand: exp, div, log. Of scores (rows, classes), the first class is right."""
    e = jnp.exp(scores)
    return -jnp.log(e[:, 0] / e.sum(1)).mean()


def scanned(scores):
    return lax.scan(lambda c, row: (c + loss_of(row[None]), None), 0.0, scores)[0]


def chosen(scores):
    return lax.cond(scores.sum() < 1e9, loss_of, lambda s: s.sum(), scores)


jitted_exp, jitted_log = jax.jit(jnp.exp), jax.jit(jnp.log)


def piecewise(scores):
    e = jitted_exp(scores)
    return -jitted_log(e[:, 0] / e.sum(1)).mean()


FORMS = {
    "plain": loss_of,
    "jit": jax.jit(loss_of),
    "jitted functions": piecewise,
    "remat": jax.checkpoint(loss_of),
    "vmap": lambda scores: jax.vmap(lambda row: loss_of(row[None]))(scores).mean(),
    "scan": scanned,
    "cond": chosen,
}


@pytest.mark.parametrize("jit", [True, False], ids=["jitted", "not jitted"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_program_is_entered(form, jit):
    x = np.array([[1.0, -2.0], [0.5, 3.0], [2.0, 0.0]], np.float32)
    w = np.array([[4.0, 5.0, -3.0], [-1.0, 2.0, 0.5]], np.float32)
    readings = watched(lambda w: FORMS[form](x @ w), w, jit=jit)
    e = np.exp(x.astype(np.float64) @ w)
    p = e[:, 0] / e.sum(1)
    forward = {
        "exp": e.max(),
        "div": max(p.max(), (1 / e.sum(1) ** 2).max()),
        "log": (1 / p).max(),
    }
    share = 1 if form == "scan" else 1 / len(x)
    backward = {"log": share * (1 / p).max(), "div": share * (1 / e.sum(1)).max()}
    assert operations(readings) == pytest.approx(forward, rel=1e-4)
    found = operations(readings, "cotangent")
    assert {k: found[k] for k in backward} == pytest.approx(backward, rel=1e-4)


def test_gradients_per_example_are_watched():
    x = np.array([[1.0, -2.0], [0.5, 3.0]], np.float32)
    w = np.array([[4.0, 5.0], [-1.0, 2.0]], np.float32)

    def step(w, x):
        return jax.vmap(jax.grad(lambda w, r: loss_of((r @ w)[None])), (None, 0))(w, x)

    _, readings = jax.jit(watch(step))(w, x)
    assert operations(readings)["exp"] == pytest.approx(np.exp((x @ w).max()), rel=1e-5)


def test_sites_say_which_operation_on_which_line():
    def loss(w):
        with jax.named_scope("output"):
            return (jnp.exp(w) + jnp.exp(2 * w)).sum()

    readings = watched(loss, W)
    first, second = readings.value
    assert (first, second) == ("output/exp", "output/exp#2")
    assert (first.kind, first.scope, first.function) == ("operation", "output", "exp")
    assert "jnp.exp(2 * w)" in Path(first.file).read_text().splitlines()[first.line - 1]


SAFE = {
    "log_softmax": lambda z: -jax.nn.log_softmax(z)[:, 0].mean(),
    "cross entropy": lambda z: optax.softmax_cross_entropy_with_integer_labels(
        z, np.zeros(len(z), int)
    ).mean(),
    "logsumexp": lambda z: jax.nn.logsumexp(z, axis=1).sum(),
    "log of softmax + 1e-7": lambda z: jnp.log(jax.nn.softmax(z) + 1e-7).sum(),
    "clipped log": lambda z: jnp.log(jnp.clip(z, 1e-7, 1)).sum(),
    "normalised": lambda z: (z * lax.rsqrt(jnp.abs(z) + 1e-5)).sum(),
    "tanh": lambda z: jnp.tanh(z).sum() / z.size,
    "squashed": lambda z: jnp.exp(jnp.tanh(z)).sum(),
    "squared sigmoid": lambda z: (jax.nn.sigmoid(z) ** 2).sum(),
    "sigmoid by hand": lambda z: (1 / (1 + jnp.exp(-z))).sum(),
    "gelu": lambda z: jax.nn.gelu(z).sum(),
    "dropout": lambda z: jnp.where(z > 0, z / 0.9, 0).sum(),
}


@pytest.mark.parametrize("name", SAFE)
def test_what_cannot_overflow_costs_nothing(name):
    z = np.linspace(-4, 4, 12, dtype=np.float32).reshape(3, 4)
    assert operations(watched(SAFE[name], z)) == {}


def test_in_float16_less_is_safe():
    z = half(np.linspace(-4, 4, 12).reshape(3, 4))
    # The mean alone, made in float32, is cast back.
    assert set(operations(watched(SAFE["log_softmax"], z))) == {"convert_element_type"}
    found = operations(watched(lambda z: (z / half(np.array(0.25))).sum(), z))
    assert found["div"] == pytest.approx(16, rel=2e-3)
    assert operations(watched(lambda z: (z / 0.25).sum(), z.astype(np.float32))) == {}


def test_masks_are_no_approach():
    mask = np.array([True, False, True, True])

    def loss(w):
        hidden = jnp.exp(jnp.where(mask, w, -jnp.inf)).sum()
        return hidden + jnp.log(jnp.where(mask, w, 0))[mask].sum()

    found = operations(watch(jax.grad(loss))(W)[1])
    assert found == pytest.approx({"exp": np.exp(5.0), "log": 4.0}, rel=1e-5)


def test_without_the_part_overflow_there_are_none():
    loss = lambda w: jnp.exp(w).sum()  # noqa: E731
    assert operations(watched(loss, W, level="light")) == {}


def train(path, step, params, batch, steps):
    """Runs and records `step` while the loss is finite; returns the diagnosed run."""
    compiled = jax.jit(watch(step))
    finite = 0
    with nndiag.record(path, every=1) as run:
        for number in range(steps):
            (params, loss), readings = compiled(params, batch)
            if not np.isfinite(loss):
                break
            run.log(number, readings, {"loss": loss})
            finite += 1
    return run.diagnose(), finite


def codes(findings):
    for finding in findings:
        yield finding.code
        yield from codes(finding.symptoms)


def near(findings):
    for finding in findings:
        if finding.code == "ND402":
            return finding
        inner = near(finding.symptoms)
        if inner is not None:
            return inner
    return None


@pytest.mark.parametrize("rate", [1.02, 1.3])
def test_an_exponential_is_warned_of_before_it_overflows(tmp_path, rate):
    def step(w, x):
        loss, gradient = jax.value_and_grad(lambda w: jnp.exp(x @ w).mean())(w)
        return rate * w + 0 * gradient, loss

    x = np.eye(3, dtype=np.float32)
    w = np.array([1.0, 0.5, -1.0], np.float32)
    findings, finite = train(tmp_path / "run", step, w, x, 400)
    overflow = int(np.ceil(np.log(np.log(np.finfo(np.float32).max)) / np.log(rate)))
    assert finite == overflow
    finding = near(findings)
    assert finding.first_step < overflow
    assert finding.sites[0].function == "exp"
    assert f"{Path(__file__).name}:" in finding.title
    assert f"at step {finite - 1}" in finding.title
    said = int(finding.title.rstrip(".").rpartition(" ")[2])
    assert overflow <= said <= overflow + 3


def test_squares_in_float16_are_warned_of_before_they_overflow(tmp_path):
    def step(w, x):
        def loss(w):
            return jnp.mean((x @ w) ** 2, dtype=np.float32)

        value, gradient = jax.value_and_grad(loss)(w)
        return (w * 1.1 + 0 * gradient).astype(np.float16), value

    x, w = half(np.eye(3)), half(np.array([8.0, 4.0, 1.0]))
    findings, finite = train(tmp_path / "run", step, w, x, 400)
    finding = near(findings)
    assert 10 < finite < 60
    assert finding.first_step < finite
    assert "the overflow of float16" in finding.title


@pytest.mark.parametrize("preset", ["relu", "tanh", "cnn"])
def test_healthy_networks_are_silent(tmp_path, preset):
    target = mnist_model.target.with_settings(**mnist_model.target.presets[preset])
    target = target.with_settings(batch_size=16, **SMALL.get(preset, {}))
    state = target.init(jax.random.key(0))
    data = target.epoch(jax.random.key(1))
    compiled = jax.jit(watch(target.train_step))
    with nndiag.record(tmp_path / "run", every=1) as run:
        for number in range(60):
            batch = jax.tree.map(lambda leaf, i=number: leaf[i], data)
            (state, metrics), readings = compiled(state, batch)
            run.log(number, readings, metrics)
    assert "ND402" not in set(codes(run.diagnose()))


SMALL = {"relu": {"width": 64}, "tanh": {"width": 64}, "cnn": {"channels": 4}}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_healthy_softmax_by_hand_is_silent(tmp_path, dtype):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 8)).astype(dtype)
    labels = (x[:, 0] > 0).astype(int)
    optimizer = optax.adam(1e-2)

    def step(state, batch):
        params, moments = state

        def loss(w):
            z = batch.astype(dtype) @ w.astype(dtype)
            e = jnp.exp(z.astype(np.float32))
            p = e / e.sum(1, keepdims=True)
            return -jnp.log(p[np.arange(32), labels]).mean()

        value, gradient = jax.value_and_grad(loss)(params)
        update, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(params, update), moments), value

    params = 0.1 * rng.normal(size=(8, 2)).astype(np.float32)
    state = params, optimizer.init(params)
    findings, finite = train(tmp_path / "run", step, state, x, 100)
    assert finite == 100
    assert near(findings) is None


@pytest.mark.optimised
def test_watching_operations_changes_no_bit():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 16, 64)).astype(np.float32)

    def hidden(x):
        centred = x - x.mean(1, keepdims=True)
        return jnp.tanh(centred / jnp.std(x, 1, keepdims=True))

    def step(params, x):
        def loss(params):
            return loss_of(hidden(x @ params["a"]) @ params["b"])

        value, gradient = jax.value_and_grad(loss)(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient), value

    params = {"a": rng.normal(size=(64, 32)) / 8, "b": rng.normal(size=(32, 10)) / 6}
    params = jax.tree.map(lambda leaf: leaf.astype(np.float32), params)
    bare, _ = jax.jit(lambda p, d: lax.scan(step, p, d))(params, x)

    def measured(params, x):
        (params, _), readings = watch(step)(params, x)
        return params, readings

    after, readings = jax.jit(lambda p, d: lax.scan(measured, p, d))(params, x)
    assert {"exp", "log", "div", "sqrt"} <= set(operations(readings))
    for a, b in zip(jax.tree.leaves(bare), jax.tree.leaves(after), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize("divisor", ["count", "one_hot"])
def test_a_divisor_that_may_be_zero_does_not_end_the_watch(divisor):
    def loss(w, mask):
        count = (mask != 0).sum()
        below = count if divisor == "count" else jax.nn.one_hot(count, 4)[0] + 1
        return (w / below).sum()

    def step(w, mask):
        value, gradient = jax.value_and_grad(loss)(w, mask)
        return w - gradient, value

    _, readings = nndiag.watch(step)(jnp.ones(3), jnp.asarray([1, 0, 1]))
    assert float(readings.gradient["parameter"].norm) > 0


@pytest.mark.parametrize("numpy", [np, jnp])
@pytest.mark.parametrize(
    ("operation", "largest"),
    [
        (Operation("square"), 0.0),  # its result was infinite already
        (Operation("integer_pow", exponent=3), 0.0),
        (Operation("convert_element_type"), 3.0),
    ],
)
def test_an_infinite_operand_overflows_nowhere(numpy, operation, largest):
    assert peak(operation, numpy, numpy.asarray([-numpy.inf, 3.0])) == largest
