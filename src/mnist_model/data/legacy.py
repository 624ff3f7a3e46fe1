"""The legacy ``mnist.pkl.gz``: a pickle, read without running anything in it.

A pickle is a program that may call any function by name. The unpickler here knows the
few names that a pickled NumPy array uses, and answers each with an inert stand-in
that only notes its arguments; every other name ends the reading. The arrays are then
built from the notes.
"""

from __future__ import annotations

import gzip
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mnist_model.errors import DataError

LARGEST = 1 << 30  # bytes; the real file unpacks to 220 MB
DTYPES = {"f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"}


def read_pickle(path: Path) -> list[np.ndarray]:
    """Training images and labels, test images and labels.

    The file's training and validation parts together are the 60,000 of MNIST.
    Its images are rows of 784 floats in [0, 1], and are turned back to bytes.

    Raises:
        DataError: if the file is missing or damaged, or names anything but arrays.
    """
    try:
        with gzip.open(path) as stream:
            content = stream.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise DataError(f"{path} unpacks to more than {LARGEST} bytes: no MNIST")
        parts = _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
        (*images, test_images), (*labels, test_labels) = zip(*parts, strict=True)
        return [
            np.concatenate([_as_bytes(part.array()) for part in images]),
            np.concatenate([part.array() for part in labels]),
            _as_bytes(test_images.array()),
            test_labels.array(),
        ]
    except DataError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"cannot read {path}: {reason}; only pickled NumPy arrays, in pairs of"
            " images and labels, are read"
        ) from error


def _as_bytes(images: np.ndarray) -> np.ndarray:
    if images.dtype != np.uint8:
        if not (images.min() >= 0 and images.max() <= 1):
            raise ValueError("images outside [0, 1]")
        # The well-known file was divided by 256.
        scale = 256 if images.max() <= 255 / 256 else 255
        images = np.rint(images * scale).astype(np.uint8)
    return images.reshape(-1, 28, 28)


class _Dtype:
    """Notes on a pickled `numpy.dtype`."""

    __slots__ = ("code", "order")

    def __init__(self, code: str, *_: object) -> None:
        self.code, self.order = code, "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def dtype(self) -> np.dtype[Any]:
        if self.code not in DTYPES or self.order not in ("<", ">", "|", "="):
            raise ValueError(f"array of type {self.code!r}")
        return np.dtype(self.code).newbyteorder(self.order)


class _Array:
    """Notes on a pickled `numpy.ndarray`."""

    __slots__ = ("content", "fortran", "kind", "shape")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        *_, self.shape, self.kind, self.fortran, self.content = state

    def array(self) -> np.ndarray:
        content = self.content
        if isinstance(content, str):  # bytes of Python 2
            content = content.encode("latin1")
        flat = np.frombuffer(content, self.kind.dtype())
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


class _Stand_in:
    """A callable on which a pickle cannot set attributes."""

    __slots__ = ("_build",)

    def __init__(self, build: Callable[..., object]) -> None:
        self._build = build

    def __call__(self, *arguments: object) -> object:
        return self._build(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("attributes set on a function")


def _bytes_of(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes into old protocols."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"codec {encoding!r}")
    return text.encode("latin1")


def _from_buffer(content: bytes, kind: _Dtype, shape: Any, order: str) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, kind, order == "F", content))
    return array


_NDARRAY = _Stand_in(lambda *_: _Array())
_STAND_INS = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Stand_in(_Dtype),
    ("numpy.core.multiarray", "_reconstruct"): _NDARRAY,
    ("numpy._core.multiarray", "_reconstruct"): _NDARRAY,
    ("numpy.core.numeric", "_frombuffer"): _Stand_in(_from_buffer),
    ("numpy._core.numeric", "_frombuffer"): _Stand_in(_from_buffer),
    ("_codecs", "encode"): _Stand_in(_bytes_of),
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no array")
        return _STAND_INS[module, name]
