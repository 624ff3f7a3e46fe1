"""Steps, epochs and whole runs."""

import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mnist_model
from mnist_model import PRESETS, Classifier, DataError, Settings, SettingsError
from mnist_model.__main__ import main
from mnist_model.data import load
from mnist_model.optimization import build_optimizer, learning_rate_schedule
from mnist_model.training import train

SMALL = Settings(depth=1, width=8, input_scaling="standard", epochs=2)


def assert_trees_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_scanned_epoch_is_bit_identical_to_its_steps(optimizer):
    target = Classifier(SMALL).with_settings(optimizer=optimizer)
    state = target.init(jax.random.key(0))
    batches = jax.tree.map(lambda array: array[:20], target.epoch(jax.random.key(1)))
    scanned, metrics = jax.jit(partial(jax.lax.scan, target.train_step))(state, batches)
    step = jax.jit(target.train_step)
    for index in range(20):
        batch = jax.tree.map(lambda array, index=index: array[index], batches)
        state, one = step(state, batch)
        assert one["loss"] == metrics["loss"][index]
    assert_trees_equal(state, scanned)
    assert scanned.step == 20


def test_an_epoch_visits_each_example_at_most_once_and_drops_only_the_tail():
    target = Classifier(SMALL).with_settings(batch_size=300, input_scaling="raw")
    batches = target.epoch(jax.random.key(0))
    assert batches.images.shape == (33, 300, 28, 28)
    assert batches.labels.shape == (33, 300)
    bundled = load()
    left = {}
    for image, label in zip(bundled.train_images, bundled.train_labels, strict=True):
        left.setdefault(image.tobytes(), []).append(label)
    images = np.asarray(batches.images).astype(np.uint8).reshape(-1, 28, 28)
    for image, label in zip(images, np.asarray(batches.labels).ravel(), strict=True):
        left[image.tobytes()].remove(label)
    assert sum(map(len, left.values())) == 10_000 - 33 * 300


def test_the_shuffle_depends_on_the_key_alone():
    target = Classifier(SMALL)
    one, same, other = (target.epoch(jax.random.key(seed)) for seed in (0, 0, 1))
    assert_trees_equal(one, same)
    assert (one.labels != other.labels).any()


@pytest.mark.parametrize(
    ("scaling", "low", "high"),
    [("raw", 0, 255), ("unit", 0, 1), ("symmetric", -1, 1)],
)
def test_input_scaling_sets_the_range(scaling, low, high):
    images = (
        Classifier(SMALL.changed(input_scaling=scaling)).epoch(jax.random.key(0)).images
    )
    assert (images.min(), images.max()) == (low, high)


def test_standard_scaling_sets_the_moments():
    settings = SMALL.changed(input_scaling="standard", batch_size=10_000)
    images = np.asarray(
        Classifier(settings).epoch(jax.random.key(0)).images, np.float64
    )
    assert images.mean() == pytest.approx(0, abs=1e-4)
    assert images.std() == pytest.approx(1, abs=1e-4)


def test_a_step_of_sgd_follows_the_gradient_of_the_loss():
    target = Classifier(SMALL)
    state = target.init(jax.random.key(0))
    batch = jax.tree.map(lambda array: array[0], target.epoch(jax.random.key(1)))
    gradient = jax.jit(jax.grad(target.loss))(state.params, batch)
    after, metrics = jax.jit(target.train_step)(state, batch)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, state.params, gradient)
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7),
        after.params,
        expected,
    )
    assert metrics["loss"] == pytest.approx(float(target.loss(state.params, batch)))
    assert metrics["loss"].shape == ()


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("sgd", [-2, 2], [-2, 2]),
        ("momentum", [-2, 2], [-2 * 1.75, 2 * 1.75]),
        ("nesterov", [-2 * 1.75, 2 * 1.75], [-2 * (1 + 0.75 * 1.75), 4.625]),
        ("rmsprop", [-(10**0.5), 10**0.5], [-((1 / 0.19) ** 0.5), 0.19**-0.5]),
        ("adam", [-1, 1], [-1, 1]),
        ("adamw", [-1 - 0.5 * 3, 1 - 0.5 * 4], [-1 - 0.5 * 3, 1 - 0.5 * 4]),
        ("lion", [-1 - 0.5 * 3, 1 - 0.5 * 4], [-1 - 0.5 * 3, 1 - 0.5 * 4]),
    ],
)
def test_two_updates_of_each_optimizer(name, first, second):
    settings = Settings(
        optimizer=name, learning_rate=0.1, momentum=0.75, weight_decay=0.5
    )
    optimizer = build_optimizer(settings, 0)
    params, gradient = jnp.array([3.0, 4.0]), jnp.array([2.0, -2.0])
    state = optimizer.init(params)
    for expected in (first, second):
        updates, state = optimizer.update(gradient, state, params)
        np.testing.assert_allclose(updates / 0.1, expected, rtol=1e-4)


def test_schedules_have_their_shape():
    def rates(schedule):
        settings = Settings(schedule=schedule, learning_rate=0.5)
        rate = learning_rate_schedule(settings, 100)
        return [float(rate(step)) for step in (0, 10, 50, 100)]

    assert rates("constant") == [0.5] * 4
    cosine = [0.25 * (1 + np.cos(np.pi * step / 100)) for step in (0, 10, 50, 100)]
    assert rates("cosine") == pytest.approx(cosine, abs=1e-6)
    warm = [0.25 * (1 + np.cos(np.pi * (step - 10) / 90)) for step in (10, 50, 100)]
    assert rates("warmup_cosine") == pytest.approx([0, *warm], abs=1e-6)


def test_evaluation_counts_the_whole_test_set():
    target = Classifier(SMALL)
    state = target.init(jax.random.key(0))
    constant = jax.tree.map(jnp.zeros_like, state.params)
    constant["output"]["bias"] = constant["output"]["bias"].at[7].set(1.0)
    metrics = target.evaluate(state._replace(params=constant))
    sevens = np.mean(load().test_labels == 7)
    assert metrics["test_accuracy"] == pytest.approx(sevens)
    expected = np.log(9 + np.e) - sevens
    assert metrics["test_loss"] == pytest.approx(expected, rel=1e-5)
    assert all(type(value) is float for value in metrics.values())


def test_the_seed_decides_the_run():
    runs = [list(train(Classifier(SMALL), jax.random.key(seed))) for seed in (3, 3, 4)]
    assert runs[0] == runs[1] != runs[2]
    assert [epoch.number for epoch in runs[0]] == [1, 2]


@pytest.mark.parametrize("name", ["relu", "tanh", "cnn"])
def test_healthy_presets_begin_at_ignorance_and_learn(name):
    target = mnist_model.target.with_settings(**mnist_model.target.presets[name])
    target = target.with_settings(batch_size=64, channels=4)
    batches = jax.tree.map(lambda array: array[:90], target.epoch(jax.random.key(1)))
    scan = jax.jit(partial(jax.lax.scan, target.train_step))
    state, metrics = scan(target.init(jax.random.key(0)), batches)
    assert metrics["loss"][0] == pytest.approx(np.log(10), rel=0.15)
    assert metrics["loss"][-10:].mean() < 0.8
    assert target.evaluate(state)["test_accuracy"] > 0.75


def test_deep_sigmoid_does_not_learn_and_its_gradient_vanishes():
    target = mnist_model.target
    batches = target.epoch(jax.random.key(1))
    state = target.init(jax.random.key(0))
    first = jax.tree.map(lambda array: array[0], batches)
    gradient = jax.jit(jax.grad(target.loss))(state.params, first)
    norms = [np.linalg.norm(gradient[f"hidden_{layer}"]["weight"]) for layer in (1, 10)]
    assert norms[0] < norms[1] / 100
    state, metrics = jax.jit(partial(jax.lax.scan, target.train_step))(state, batches)
    assert metrics["loss"][-10:].mean() > 2.25
    assert target.evaluate(state)["test_accuracy"] < 0.25


def test_the_network_of_the_blog_learns():
    *_, last = train(Classifier(PRESETS["blog"]), jax.random.key(0))
    assert last.test_accuracy > 0.5


def test_a_batch_larger_than_the_data_is_refused():
    target = Classifier(SMALL).with_settings(batch_size=10_001)
    with pytest.raises(SettingsError, match="batch_size=10001 is more than the 10000"):
        target.epoch(jax.random.key(0))


def test_tracing_leaves_no_tracer_behind():
    target = Classifier(SMALL).with_settings(
        schedule="cosine", input_scaling="symmetric"
    )
    state = jax.eval_shape(target.init, jax.random.key(0))
    batches = jax.eval_shape(target.epoch, jax.random.key(0))
    assert batches.images.shape == (78, 128, 28, 28)
    jax.eval_shape(partial(jax.lax.scan, target.train_step), state, batches)
    assert target.epoch(jax.random.key(0)).images.shape == batches.images.shape


def test_data_are_not_read_before_they_are_needed(tmp_path):
    target = mnist_model.target.with_settings(data=tmp_path / "nowhere")
    target.init(jax.random.key(0))
    with pytest.raises(DataError, match="nowhere"):
        target.epoch(jax.random.key(0))


def test_importing_starts_no_backend_and_knows_nothing_of_nndiag():
    program = (
        "import sys, mnist_model, mnist_model.__main__\n"
        "import jax._src.xla_bridge as bridge\n"
        "assert not bridge.backends_are_initialized()\n"
        "assert 'nndiag' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_the_command_prints_a_line_per_epoch(capsys):
    main(["--preset", "relu", "--set", "width=16", "--epochs", "2", "--seed", "5"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["epoch", "1"], ["epoch", "2"]]
    assert all("test accuracy" in line and line.endswith("%") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "relo"], "preset 'relo' is unknown; did you mean 'relu'?"),
        (["--set", "widht=3"], "setting 'widht' is unknown; did you mean 'width'?"),
        (["--set", "width=wide"], "width='wide' is not a whole number"),
        (["--set", "width"], "--set 'width' has no '='"),
        (["--epochs", "0"], "epochs='0' is not a whole number of at least 1"),
        (["--data", "nowhere"], "there is no data at nowhere"),
        (["--seed", "x"], "argument --seed: invalid int value: 'x'"),
        (["--depth", "3"], "unrecognized arguments: --depth 3"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ")
    assert message in output.err
    assert output.err.count("\n") == 1
