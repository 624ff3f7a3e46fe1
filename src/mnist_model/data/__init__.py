"""MNIST, and whatever comes in its formats."""

from mnist_model.data.dataset import Dataset, load

__all__ = ["Dataset", "load"]
