"""Each format, and each way in which a file can be bad."""

import gzip
import io
import pickle
import re
import struct
import zipfile

import numpy as np
import pytest

from mnist_model import DataError
from mnist_model.data import Dataset, load

NAMES = ("train-images", "train-labels", "t10k-images", "t10k-labels")


def small_dataset(train=12, test=5):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (train + test, 28, 28)).astype(np.uint8)
    labels = random.integers(0, 10, train + test).astype(np.uint8)
    return Dataset(images[:train], labels[:train], images[train:], labels[train:])


def idx_bytes(array):
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.tobytes()


def write_idx(directory, dataset, *, separator="-", packed=False):
    directory.mkdir(exist_ok=True)
    for name, array in zip(NAMES, dataset, strict=True):
        path = directory / f"{name}{separator}idx{array.ndim}-ubyte"
        if packed:
            path.with_name(path.name + ".gz").write_bytes(
                gzip.compress(idx_bytes(array))
            )
        else:
            path.write_bytes(idx_bytes(array))
    return directory


def write_archive(path, dataset, **changes):
    names = ("x_train", "y_train", "x_test", "y_test")
    arrays = dict(zip(names, dataset, strict=True)) | changes
    np.savez(path, **{name: a for name, a in arrays.items() if a is not None})
    return path


def legacy_parts(dataset, divisor=256):
    rows = [a.reshape(len(a), 784) / np.float32(divisor) for a in dataset[::2]]
    labels = [a.astype(np.int64) for a in dataset[1::2]]
    return (
        (rows[0][:8], labels[0][:8]),
        (rows[0][8:], labels[0][8:]),
        (rows[1], labels[1]),
    )


def write_pickle(path, content):
    path.write_bytes(gzip.compress(content))
    return path


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == np.uint8


def assert_refused(path, *words):
    with pytest.raises(DataError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert re.search(word, message), message


def test_the_bundled_data_are_the_described_subset():
    data = load()
    assert data.train_images.shape == (10_000, 28, 28)
    assert data.test_images.shape == (2_000, 28, 28)
    # The first labels of MNIST are 5 0 4 1 9 2 1 …, of its test set 7 2 1 0 4 1 …
    assert data.train_labels[:2].tolist() == [5, 1]
    assert data.test_labels[:2].tolist() == [7, 1]
    for labels in (data.train_labels, data.test_labels):
        assert (np.bincount(labels, minlength=10) / len(labels)).min() > 0.07


@pytest.mark.parametrize("separator", ["-", "."])
@pytest.mark.parametrize("packed", [False, True])
def test_a_directory_of_idx_files(tmp_path, separator, packed):
    data = small_dataset()
    write_idx(tmp_path / "data", data, separator=separator, packed=packed)
    assert_same(load(tmp_path / "data"), data)


def test_an_archive_of_keras(tmp_path):
    data = small_dataset()
    assert_same(load(write_archive(tmp_path / "mnist.npz", data)), data)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("divisor", [255, 256])
def test_a_legacy_pickle(tmp_path, protocol, divisor):
    data = small_dataset()
    content = pickle.dumps(legacy_parts(data, divisor), protocol)
    assert_same(load(write_pickle(tmp_path / "mnist.pkl.gz", content)), data)


def python_2_array(array):
    """An array as Python 2 and NumPy 1 pickled it in protocol 2, opcode by opcode."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    def number(value):
        return b"J" + struct.pack("<i", value)

    code = array.dtype.str[1:].encode()
    raw = array.tobytes()
    return b"".join(
        [
            b"cnumpy.core.multiarray\n_reconstruct\n",
            b"cnumpy\nndarray\n" + number(0) + b"\x85" + text(b"b") + b"\x87R",
            b"(" + number(1) + b"(" + b"".join(map(number, array.shape)) + b"t",
            b"cnumpy\ndtype\n" + text(code) + number(0) + number(1) + b"\x87R",
            b"(" + number(3) + text(b"<") + b"NNN",
            number(-1) + number(-1) + number(0) + b"tb",
            b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb",
        ]
    )


def test_a_legacy_pickle_of_python_2(tmp_path):
    data = small_dataset()
    parts = [
        b"".join(map(python_2_array, part)) + b"\x86" for part in legacy_parts(data)
    ]
    content = b"\x80\x02" + b"".join(parts) + b"\x87."
    # the oracle: NumPy itself can read what was written here
    first = pickle.loads(content, encoding="latin1")[0][1]
    np.testing.assert_array_equal(first, data.train_labels[:8])
    assert_same(load(write_pickle(tmp_path / "mnist.pkl.gz", content)), data)


class Malice:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, protocol):
    import os

    victim = tmp_path / "made-by-malice"
    content = pickle.dumps(Malice(os.mkdir, str(victim)), protocol)
    path = write_pickle(tmp_path / "mnist.pkl.gz", content)
    assert_refused(path, re.escape(str(path)), r"it names (posix|nt)\.mkdir")
    assert not victim.exists()
    pickle.loads(content)
    assert victim.exists()  # it would have run


@pytest.mark.parametrize(
    "content",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n}S'_build'\nNsb.",
        b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.",
        b"cnumpy\nndarray.__class__\n.",
        b"(S'a'\nS'b'\nt.",
        b"",
        pickle.dumps(legacy_parts(small_dataset()))[:-400],
        pickle.dumps([(np.array(["a", None], object),) * 2] * 3),
        pickle.dumps([(np.full((3, 784), 7.0), np.zeros(3, int))] * 3),
        pickle.dumps([(np.full((3, 784), np.nan), np.zeros(3, int))] * 3),
    ],
)
def test_a_pickle_of_anything_else_is_refused(tmp_path, content):
    assert_refused(write_pickle(tmp_path / "mnist.pkl.gz", content), "mnist.pkl.gz")


def test_a_corrupt_gzip_is_refused(tmp_path):
    whole = gzip.compress(pickle.dumps(legacy_parts(small_dataset())))
    for content in (b"no gzip", whole[:-100], whole[:50] + b"#" * 20 + whole[70:]):
        (tmp_path / "mnist.pkl.gz").write_bytes(content)
        assert_refused(tmp_path / "mnist.pkl.gz", "mnist.pkl.gz")


def test_a_missing_path_is_named(tmp_path):
    assert_refused(tmp_path / "nowhere", "no data at .*nowhere", "fetch")


def test_an_unknown_kind_of_file_is_named(tmp_path):
    (tmp_path / "digits.csv").write_text("1,2,3")
    assert_refused(tmp_path / "digits.csv", "digits.csv is neither")


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_idx_file_is_named(tmp_path, name):
    directory = write_idx(tmp_path / "data", small_dataset())
    next(directory.glob(f"{name}*")).unlink()
    assert_refused(directory, f"has no {name}-idx")


@pytest.mark.parametrize("packed", [False, True])
def test_bad_idx_files_are_refused(tmp_path, packed):
    data = small_dataset()
    directory = write_idx(tmp_path / "data", data, packed=packed)
    path = next(directory.glob("train-images*"))
    good = idx_bytes(data.train_images)

    def refused(content, *words):
        path.write_bytes(gzip.compress(content) if packed else content)
        assert_refused(directory, re.escape(str(path)), *words)

    refused(good[:-1], "truncated: 9407 of 9408 bytes")
    refused(good[:9], "truncated within its header")
    refused(b"", "begins with nothing")
    refused(good + b"!", "goes on after the 9408 bytes")
    refused(idx_bytes(data.train_labels), "begins with 00 00 08 01 instead of")
    refused(b"\x00\x00\x0d\x03" + good[4:], "begins with 00 00 0d 03 instead of")
    refused(good[:4] + b"\xff" * 12 + good[16:], "implausibly many")


def test_corrupt_gzipped_idx_files_are_refused(tmp_path):
    directory = write_idx(tmp_path / "data", small_dataset(), packed=True)
    path = next(directory.glob("t10k-images*"))
    whole = path.read_bytes()
    for content in (whole[:-4], whole[:600], whole[:900] + b"####" + whole[904:]):
        path.write_bytes(content)
        assert_refused(directory, re.escape(str(path)))


def test_images_and_labels_must_be_as_many(tmp_path):
    data = small_dataset()
    short = data._replace(test_labels=data.test_labels[:-1])
    directory = write_idx(tmp_path / "data", short)
    assert_refused(directory, "5 test images and 4 labels")


def test_bad_archives_are_refused(tmp_path):
    data, path = small_dataset(), tmp_path / "mnist.npz"
    path.write_bytes(b"PK, but no archive")
    assert_refused(path, "cannot read .*mnist.npz")
    path.write_bytes(pickle.dumps(Malice(print, "run")))
    assert_refused(path, "cannot read .*mnist.npz")
    assert_refused(write_archive(path, data, y_test=None), "no array 'y_test'")
    objects = np.array([None] * 5, object)
    assert_refused(write_archive(path, data, y_test=objects), "cannot read")
    whole = write_archive(path, data).read_bytes()
    path.write_bytes(whole[:-200])
    assert_refused(path, "cannot read")
    path.write_bytes(whole[:3000] + b"####" + whole[3004:])
    assert_refused(path, "cannot read")
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(f"{name}.npy", b"no array")
    assert_refused(path, "cannot read")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x_train": np.zeros((12, 32, 32), np.uint8)}, r"uint8\[12, 32, 32\]"),
        ({"x_train": np.zeros((12, 28, 28))}, r"float64\[12, 28, 28\]"),
        ({"y_train": np.zeros((12, 10), np.uint8)}, r"uint8\[12, 10\]"),
        ({"y_train": np.zeros(12)}, r"float64\[12\]"),
        ({"y_train": np.full(12, 10)}, "from 10 to 10"),
        ({"y_train": np.full(12, -1)}, "from -1 to -1"),
        (
            {"x_test": np.zeros((0, 28, 28), np.uint8), "y_test": np.zeros(0, int)},
            "0 test images and 0 labels",
        ),
    ],
)
def test_data_that_are_not_like_mnist_are_refused(tmp_path, change, words):
    path = write_archive(tmp_path / "mnist.npz", small_dataset(), **change)
    assert_refused(path, words)


def test_an_array_file_under_another_name_is_refused(tmp_path):
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    (tmp_path / "mnist.npz").write_bytes(stream.getvalue())
    assert_refused(tmp_path / "mnist.npz", "cannot read")
