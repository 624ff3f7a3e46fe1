"""Named settings, each named for what it is."""

from __future__ import annotations

from mnist_model.settings import Settings

PRESETS: dict[str, Settings] = {
    # Sigmoid on sigmoid, from wide normal weights: the gradient vanishes.
    "deep-sigmoid": Settings(
        depth=10,
        width=16,
        activation="sigmoid",
        initialisation="normal",
        initialisation_scale=0.8,
        bias_scale=1.0,
        optimizer="sgd",
        learning_rate=0.1,
        epochs=10,
    ),
    # The network of the post "Learnings from coding MNIST NN from Scratch", with the
    # gradient taken by JAX and followed by Adam.
    "blog": Settings(
        depth=1,
        width=5,
        activation="sigmoid",
        output_activation="sigmoid",
        initialisation="normal",
        initialisation_scale=0.8,
        bias_scale=1.0,
        loss="squared",
        optimizer="adam",
        learning_rate=0.01,
        batch_size=32,
        epochs=30,
    ),
    "relu": Settings(
        depth=2,
        width=256,
        activation="relu",
        initialisation="he",
        output_scale=0.3,
        optimizer="momentum",
        learning_rate=0.02,
        epochs=5,
        input_scaling="standard",
    ),
    "tanh": Settings(
        depth=2,
        width=256,
        activation="tanh",
        initialisation="lecun",
        output_scale=0.3,
        optimizer="momentum",
        learning_rate=0.02,
        epochs=5,
        input_scaling="standard",
    ),
    "cnn": Settings(
        model="cnn",
        activation="relu",
        initialisation="he",
        output_scale=0.3,
        optimizer="momentum",
        learning_rate=0.02,
        epochs=5,
        input_scaling="standard",
    ),
}
