"""An MNIST classifier in plain JAX.

`target` is the program as one object; ``python -m mnist_model`` trains it.
"""

from mnist_model.classifier import Classifier
from mnist_model.errors import DataError, SettingsError
from mnist_model.presets import PRESETS
from mnist_model.settings import Settings

target = Classifier()

__all__ = [
    "PRESETS",
    "Classifier",
    "DataError",
    "Settings",
    "SettingsError",
    "target",
]
