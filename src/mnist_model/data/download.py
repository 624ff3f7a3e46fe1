"""Fetching the full MNIST from its public mirrors."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import urllib.error
import urllib.request
import zlib
from collections.abc import Sequence
from pathlib import Path

import platformdirs
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)

from mnist_model.errors import DataError

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

# SHA-256 of the unpacked files: mirrors may pack them differently.
CHECKSUMS = {
    "train-images-idx3-ubyte": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    ),
    "train-labels-idx1-ubyte": (
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
    ),
    "t10k-images-idx3-ubyte": (
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
    ),
    "t10k-labels-idx1-ubyte": (
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
    ),
}

ATTEMPTS = 3  # per file and mirror; each goes on where the last one broke off
TIMEOUT = 30.0  # seconds without a byte
CHUNK = 1 << 16  # bytes


def default_directory() -> Path:
    """Where `fetch` puts the files unless told otherwise."""
    return Path(platformdirs.user_cache_dir("mnist_model", appauthor=False)) / "mnist"


def fetch(
    directory: Path,
    *,
    mirrors: Sequence[str] = MIRRORS,
    checksums: dict[str, str] = CHECKSUMS,
    console: Console | None = None,
) -> Path:
    """Download the four gzipped files, and return the directory for `load`.

    What is there and sound is kept. A file appears under its name only when it is
    complete and its checksum is right; until then it is ``NAME.part``, from where an
    interrupted transfer goes on.

    Args:
        directory: is made if it does not exist.
        mirrors: base addresses, tried in this order.
        checksums: SHA-256 of each unpacked file, by its name.
        console: shows the progress; by default standard error.

    Raises:
        DataError: if no mirror gave a sound copy, or the directory is not writable.
    """
    console = console or Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot write to {directory}: {error.strerror}; choose another with --to"
        ) from error
    with Progress(*columns, console=console) as progress:
        for name, checksum in checksums.items():
            task = progress.add_task(name, total=None)
            path = directory / f"{name}.gz"
            if not is_sound(path, checksum):
                _fetch_file(path, checksum, mirrors, progress, task)
            size = path.stat().st_size
            progress.update(task, total=size, completed=size)
    return directory


def is_sound(path: Path, checksum: str) -> bool:
    """Whether the gzipped file exists and unpacks to what has this SHA-256."""
    try:
        with gzip.open(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == checksum  # pyright: ignore[reportArgumentType]
    except (OSError, EOFError, zlib.error):
        return False


def _fetch_file(
    path: Path,
    checksum: str,
    mirrors: Sequence[str],
    progress: Progress,
    task: TaskID,
) -> None:
    part = path.with_name(f"{path.name}.part")
    failures: list[str] = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{path.name}"
        failure = ""
        for _ in range(ATTEMPTS):
            try:
                _download(url, part, progress, task)
            except urllib.error.HTTPError as error:
                failure = f"{error.code} {error.reason}"
                break
            except (OSError, http.client.HTTPException) as error:
                failure = str(getattr(error, "reason", error)) or type(error).__name__
                continue
            if is_sound(part, checksum):
                part.replace(path)
                return
            # Perhaps two mirrors' packings were mixed: begin afresh.
            part.unlink()
            failure = "wrong checksum"
        failures.append(f"{url}: {failure}")
    raise DataError(
        f"no mirror gave a sound {path.name} ({'; '.join(failures)});"
        " check the network and fetch again"
    )


def _download(url: str, part: Path, progress: Progress, task: TaskID) -> None:
    """Add to `part` what it lacks; a transfer that ends early is an error."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is left to fetch; the checksum decides
        raise
    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        received = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = received + int(length) if length else None
        progress.update(task, total=total, completed=received)
        with part.open("ab" if resumed else "wb") as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                received += len(chunk)
                progress.update(task, completed=received)
    if total is not None and received < total:
        raise ConnectionError(f"broke off at {received} of {total} bytes")
