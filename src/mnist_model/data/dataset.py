"""Images and labels, from any of the formats in which MNIST goes round.

Bundled is a subset of 12,000 images of MNIST, by Yann LeCun and Corinna Cortes, under
the Creative Commons Attribution-ShareAlike 3.0 licence (see ``DATA_LICENSE.md``).
"""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mnist_model.data.archive import read_archive
from mnist_model.data.idx import read_idx
from mnist_model.data.legacy import read_pickle
from mnist_model.errors import DataError

IMAGE_SHAPE = (28, 28)
CLASSES = 10
IDX_FILES = {
    "train-images": "idx3-ubyte",
    "train-labels": "idx1-ubyte",
    "t10k-images": "idx3-ubyte",
    "t10k-labels": "idx1-ubyte",
}


class Dataset(NamedTuple):
    """Images [count, 28, 28] of bytes, 0 is background, and labels [count], 0 to 9."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def load(path: str | os.PathLike[str] | None = None) -> Dataset:
    """Read a data set.

    Args:
        path: a directory of the four IDX files (raw or gzipped), an archive in the
            format of Keras' ``mnist.npz``, the legacy ``mnist.pkl.gz``; `None` is the
            bundled subset.

    Raises:
        DataError: if something is missing, damaged, or not what it says it is.

    Example:
        >>> load().train_images.shape
        (10000, 28, 28)
    """
    if path is None:
        bundled = resources.files("mnist_model") / "mnist-12k.npz"
        with resources.as_file(bundled) as file:
            return Dataset(*read_archive(file))
    path = Path(path)
    if path.is_dir():
        return _checked(path, read_directory(path))
    if not path.exists():
        raise DataError(
            f"there is no data at {path}; give a directory of IDX files, an mnist.npz"
            " or an mnist.pkl.gz, or run python -m mnist_model.data fetch"
        )
    if path.suffix == ".npz":
        return _checked(path, read_archive(path))
    if path.name.endswith((".pkl.gz", ".pickle.gz")):
        return _checked(path, read_pickle(path))
    raise DataError(
        f"{path} is neither a directory of IDX files nor a .npz nor a .pkl.gz;"
        " give one of these"
    )


def read_directory(directory: Path) -> list[np.ndarray]:
    """The four arrays of a directory of IDX files, in the order of `IDX_FILES`."""
    return [
        read_idx(_find(directory, stem, kind), axes=3 if "images" in stem else 1)
        for stem, kind in IDX_FILES.items()
    ]


def _find(directory: Path, stem: str, kind: str) -> Path:
    for name in (f"{stem}-{kind}", f"{stem}.{kind}"):
        for path in (directory / name, directory / f"{name}.gz"):
            if path.is_file():
                return path
    raise DataError(
        f"{directory} has no {stem}-{kind} or {stem}-{kind}.gz;"
        " put it there, or run python -m mnist_model.data fetch"
    )


def _checked(path: Path, arrays: list[np.ndarray]) -> Dataset:
    checked: list[np.ndarray] = []
    for part, images, labels in (("training", *arrays[:2]), ("test", *arrays[2:])):
        if images.shape[1:] != IMAGE_SHAPE or images.dtype != np.uint8:
            raise DataError(
                f"{path}: {part} images are {images.dtype}{list(images.shape)}, but"
                " uint8[count, 28, 28] is needed; give data in the form of MNIST"
            )
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise DataError(
                f"{path}: {part} labels are {labels.dtype}{list(labels.shape)}, but"
                " integers [count] are needed; give data in the form of MNIST"
            )
        if len(images) != len(labels) or not len(labels):
            raise DataError(
                f"{path}: {len(images)} {part} images and {len(labels)} labels;"
                " as many of each are needed, so check that the files belong together"
            )
        if labels.min() < 0 or labels.max() >= CLASSES:
            raise DataError(
                f"{path}: {part} labels go from {labels.min()} to {labels.max()}, but"
                f" must lie in 0 to {CLASSES - 1}; give data of ten classes"
            )
        checked += [images, labels.astype(np.uint8)]
    return Dataset(*checked)
