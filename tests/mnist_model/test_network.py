"""The networks and their gradients, against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnist_model import Classifier, Settings
from mnist_model.network import apply, initialise, layer_shapes
from mnist_model.training import Batch


def numpy_sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_gelu(x):  # the tanh form, which is the default of jax.nn.gelu
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


ACTIVATIONS = {
    "sigmoid": numpy_sigmoid,
    "tanh": np.tanh,
    "relu": lambda x: np.where(x > 0, x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "gelu": numpy_gelu,
    "silu": lambda x: x * numpy_sigmoid(x),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "identity": lambda x: x,
}


def random_batch(size=7, seed=0):
    random = np.random.default_rng(seed)
    images = random.normal(size=(size, 28, 28)).astype(np.float32)
    return Batch(jnp.asarray(images), jnp.asarray(random.integers(0, 10, size)))


def double(params):
    return jax.tree.map(lambda array: np.asarray(array, np.float64), params)


def numpy_mlp(params, images, settings):
    """Outputs, and the inputs and pre-activations of every layer."""
    signal = np.asarray(images, np.float64).reshape(len(images), -1)
    inputs, sums = [], []
    for name in layer_shapes(settings):
        inputs.append(signal)
        sums.append(signal @ params[name]["weight"] + params[name]["bias"])
        last = name == "output"
        function = settings.output_activation if last else settings.activation
        signal = ACTIVATIONS[function](sums[-1])
    return signal, inputs, sums


@pytest.mark.parametrize(
    ("activation", "depth"),
    [*((name, 3) for name in ACTIVATIONS), ("elu", 0), ("elu", 11)],
)
def test_mlp_outputs_are_those_of_numpy(activation, depth):
    settings = Settings(
        depth=depth,
        width=9,
        activation=activation,
        initialisation="lecun",
        bias_scale=0.3,
    )
    params = initialise(jax.random.key(1), settings)
    images = random_batch().images
    expected, _, _ = numpy_mlp(double(params), images, settings)
    # through jit, which hands parameters over in alphabetical order
    outputs = jax.jit(apply, static_argnums=2)(params, images, settings)
    np.testing.assert_allclose(outputs, expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("loss", ["cross_entropy", "squared"])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_gradient_is_that_of_backpropagation_in_numpy(activation, loss):
    settings = Settings(
        depth=3, width=8, activation=activation, loss=loss, bias_scale=0.1
    )
    target = Classifier(settings)
    batch = random_batch()
    params = target.init(jax.random.key(2)).params
    exact = double(params)
    outputs, inputs, sums = numpy_mlp(exact, batch.images, settings)

    one_hot = np.eye(10)[np.asarray(batch.labels)]
    if loss == "squared":
        expected_loss = np.mean(np.sum((outputs - one_hot) ** 2, axis=1))
        delta = 2 * (outputs - one_hot) / len(outputs)
    else:
        exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        softmax = exponentials / exponentials.sum(axis=1, keepdims=True)
        expected_loss = -np.mean(np.log(np.sum(softmax * one_hot, axis=1)))
        delta = (softmax - one_hot) / len(outputs)
    derivative = {
        "sigmoid": lambda x: numpy_sigmoid(x) * (1 - numpy_sigmoid(x)),
        "tanh": lambda x: 1 - np.tanh(x) ** 2,
        "relu": lambda x: (x > 0).astype(float),
    }[activation]

    value, gradient = jax.value_and_grad(target.loss)(params, batch)
    np.testing.assert_allclose(value, expected_loss, rtol=1e-5)
    names = list(layer_shapes(settings))
    for place in reversed(range(len(names))):
        name = names[place]
        weight = inputs[place].T @ delta
        np.testing.assert_allclose(
            gradient[name]["weight"], weight, rtol=1e-3, atol=1e-5
        )
        np.testing.assert_allclose(
            gradient[name]["bias"], delta.sum(axis=0), rtol=1e-3, atol=1e-5
        )
        if place:
            delta = delta @ exact[name]["weight"].T * derivative(sums[place - 1])


def numpy_convolution(images, weight):
    """Stride 2, zeros around as TensorFlow's SAME puts them, in plain loops."""
    count, side, _, _ = images.shape
    kernel, half = weight.shape[0], side // 2
    missing = max((half - 1) * 2 + kernel - side, 0)
    before = missing // 2
    edges = (before, missing - before)
    padded = np.pad(images, ((0, 0), edges, edges, (0, 0)))
    result = np.zeros((count, half, half, weight.shape[-1]))
    for row in range(half):
        for column in range(half):
            top, left = 2 * row, 2 * column
            patch = padded[:, top : top + kernel, left : left + kernel]
            result[:, row, column] = np.tensordot(patch, weight, axes=3)
    return result


def test_cnn_outputs_are_those_of_numpy():
    settings = Settings(model="cnn", channels=3, width=11, bias_scale=0.2)
    params = initialise(jax.random.key(3), settings)
    exact, images = double(params), random_batch(3).images
    signal = np.asarray(images, np.float64)[..., None]
    for name in ("conv_1", "conv_2"):
        signal = numpy_convolution(signal, exact[name]["weight"])
        signal = np.maximum(signal + exact[name]["bias"], 0)
    signal = signal.reshape(len(signal), -1)
    dense, output = exact["dense"], exact["output"]
    signal = np.maximum(signal @ dense["weight"] + dense["bias"], 0)
    expected = signal @ output["weight"] + output["bias"]
    outputs = apply(params, images, settings)
    np.testing.assert_allclose(outputs, expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("settings", "layers"),
    [
        (Settings(depth=2), ["hidden_1", "hidden_2", "output"]),
        (Settings(model="cnn"), ["conv_1", "conv_2", "dense", "output"]),
    ],
)
def test_each_layer_computes_in_a_scope_of_its_name(settings, layers):
    params = initialise(jax.random.key(0), settings)
    images = random_batch(2).images
    jaxpr = jax.make_jaxpr(apply, static_argnums=2)(params, images, settings)
    seen = []
    for equation in jaxpr.jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            seen.append(str(equation.source_info.name_stack))
    assert seen == layers == list(params)
