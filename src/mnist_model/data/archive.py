"""The format of Keras' ``mnist.npz``, which the bundled data share."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mnist_model.errors import DataError

ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def read_archive(path: Path) -> list[np.ndarray]:
    """The four arrays named in `ARRAYS`; nothing is unpickled.

    Raises:
        DataError: if the file is missing, damaged, or lacks an array.
    """
    try:
        # what is no zip file, NumPy would take for a pickle
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
        for name in ARRAYS:
            if f"{name}.npy" not in names:
                raise DataError(
                    f"{path} has no array {name!r}, only"
                    f" {', '.join(sorted(names)) or 'nothing'};"
                    " an archive in the format of Keras' mnist.npz is needed"
                )
        with np.load(path, allow_pickle=False) as arrays:
            return [_array(arrays, name) for name in ARRAYS]
    except DataError:
        raise
    except (
        OSError,
        EOFError,
        ValueError,
        SyntaxError,
        RuntimeError,
        MemoryError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"cannot read {path}: {reason}; fetch it again") from error


def _array(arrays: Mapping[str, object], name: str) -> np.ndarray:
    array = arrays[name]
    if not isinstance(array, np.ndarray):  # NumPy hands over other members as bytes
        raise ValueError(f"{name} is no array")
    return array
