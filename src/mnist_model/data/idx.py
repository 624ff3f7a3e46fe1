"""The IDX format of the original MNIST files.

A file is two zero bytes, a byte for the element type (8 is an unsigned byte), a byte
for the number of axes, the length of each axis as a big-endian 32-bit integer, and
then the elements, last axis fastest. Source: http://yann.lecun.com/exdb/mnist/.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np

from mnist_model.errors import DataError

UNSIGNED_BYTE = 8
LARGEST = 1 << 30  # bytes; the training images of MNIST are 47 million
GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: Path, axes: int) -> np.ndarray:
    """The array of unsigned bytes in an IDX file, gzipped or not.

    Args:
        path: the file.
        axes: how many axes are expected: 3 for images, 1 for labels.

    Raises:
        DataError: if the file is missing, damaged, or holds something else.
    """
    try:
        with path.open("rb") as file:
            compressed = file.read(2) == GZIP_MAGIC
            file.seek(0)
            stream = gzip.GzipFile(fileobj=file) if compressed else file
            return _parse(cast(IO[bytes], stream), path, axes)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {error}; fetch it again") from error


def _parse(stream: IO[bytes], path: Path, axes: int) -> np.ndarray:
    magic = stream.read(4)
    expected = bytes([0, 0, UNSIGNED_BYTE, axes])
    if magic != expected:
        raise DataError(
            f"{path} begins with {magic.hex(' ') or 'nothing'} instead of"
            f" {expected.hex(' ')}: no IDX file of bytes with {axes} axes;"
            " check which file this is"
        )
    header = stream.read(4 * axes)
    if len(header) < 4 * axes:
        raise DataError(f"{path} is truncated within its header; fetch it again")
    shape = struct.unpack(f">{axes}I", header)
    size = math.prod(shape)
    if size > LARGEST:
        raise DataError(
            f"{path} announces {size} bytes of data, implausibly many; fetch it again"
        )
    elements = stream.read(size)
    if len(elements) < size:
        raise DataError(
            f"{path} is truncated: {len(elements)} of {size} bytes of data;"
            " fetch it again"
        )
    if stream.read(1):
        raise DataError(
            f"{path} goes on after the {size} bytes that its header announces;"
            " fetch it again"
        )
    return np.frombuffer(elements, np.uint8).reshape(shape)
