"""Fetching from mirrors, which here listen on the loopback interface."""

import gzip
import hashlib
import io
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from rich.console import Console

from mnist_model import DataError
from mnist_model.data import __main__ as command
from mnist_model.data.download import CHECKSUMS, MIRRORS, fetch

CONTENT = {"first-ubyte": b"digits" * 9000, "second-ubyte": b"labels"}
SUMS = {name: hashlib.sha256(raw).hexdigest() for name, raw in CONTENT.items()}
PACKED = {f"{name}.gz": gzip.compress(raw) for name, raw in CONTENT.items()}


@contextmanager
def mirror(files=PACKED, *, break_off_after=None, ranges=True):
    """A server; the first answer for each file may end early."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.rpartition("/")[2]
            header = self.headers["Range"]
            first = name not in [seen for seen, _ in requests]
            requests.append((name, header))
            if name not in files:
                return self.send_error(404)
            start = int(header.removeprefix("bytes=").rstrip("-")) if ranges else 0
            body = files[name]
            if start and start >= len(body):
                return self.send_error(416)
            self.send_response(206 if ranges else 200)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            end = break_off_after if first and break_off_after else len(body)
            self.wfile.write(body[start:end])

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/mnist/", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def quiet():
    return Console(file=io.StringIO())


def assert_complete(directory):
    found = {path.name: path.read_bytes() for path in directory.iterdir()}
    assert found == PACKED  # and no .part is left


def test_files_arrive_under_their_names(tmp_path):
    with mirror() as (url, requests):
        directory = fetch(
            tmp_path / "new" / "cache", mirrors=[url], checksums=SUMS, console=quiet()
        )
    assert_complete(directory)
    assert len(requests) == 2


@pytest.mark.parametrize("ranges", [True, False])
def test_a_truncated_transfer_goes_on_or_begins_again(tmp_path, ranges):
    with mirror(break_off_after=20, ranges=ranges) as (url, requests):
        fetch(tmp_path, mirrors=[url], checksums=SUMS, console=quiet())
    assert_complete(tmp_path)
    assert requests[:2] == [
        ("first-ubyte.gz", "bytes=0-"),
        ("first-ubyte.gz", "bytes=20-"),
    ]


def test_an_interrupted_fetch_goes_on_next_time(tmp_path):
    (tmp_path / "first-ubyte.gz.part").write_bytes(PACKED["first-ubyte.gz"][:15])
    (tmp_path / "second-ubyte.gz.part").write_bytes(PACKED["second-ubyte.gz"])
    with mirror() as (url, requests):
        fetch(tmp_path, mirrors=[url], checksums=SUMS, console=quiet())
    assert_complete(tmp_path)
    size = len(PACKED["second-ubyte.gz"])
    assert requests == [
        ("first-ubyte.gz", "bytes=15-"),
        ("second-ubyte.gz", f"bytes={size}-"),
    ]


def test_a_damaged_part_is_thrown_away(tmp_path):
    (tmp_path / "first-ubyte.gz.part").write_bytes(b"#" * 15)
    with mirror() as (url, _):
        fetch(tmp_path, mirrors=[url], checksums=SUMS, console=quiet())
    assert_complete(tmp_path)


@pytest.mark.parametrize(
    "bad",
    [
        PACKED | {"first-ubyte.gz": gzip.compress(b"other digits")},
        PACKED | {"first-ubyte.gz": b"<html>sign in</html>"},
        {},
    ],
)
def test_a_bad_mirror_falls_through_to_the_next(tmp_path, bad):
    with mirror(bad) as (first, _), mirror() as (second, requests):
        fetch(tmp_path, mirrors=[first, second], checksums=SUMS, console=quiet())
    assert_complete(tmp_path)
    assert "first-ubyte.gz" in [name for name, _ in requests]


def test_a_dead_mirror_falls_through_to_the_next(tmp_path):
    with mirror() as (dead, _):
        pass
    with mirror() as (alive, _):
        fetch(tmp_path, mirrors=[dead, alive], checksums=SUMS, console=quiet())
    assert_complete(tmp_path)


def test_sound_files_are_kept_and_damaged_ones_replaced(tmp_path):
    (tmp_path / "first-ubyte.gz").write_bytes(PACKED["first-ubyte.gz"][:-5])
    (tmp_path / "second-ubyte.gz").write_bytes(PACKED["second-ubyte.gz"])
    with mirror() as (url, requests):
        fetch(tmp_path, mirrors=[url], checksums=SUMS, console=quiet())
    assert_complete(tmp_path)
    assert [name for name, _ in requests] == ["first-ubyte.gz"]


def test_when_all_mirrors_fail_each_is_named_and_nothing_is_left(tmp_path):
    bad = PACKED | {"first-ubyte.gz": gzip.compress(b"other digits")}
    with (
        mirror(bad) as (first, _),
        mirror({}) as (second, _),
        pytest.raises(DataError) as caught,
    ):
        fetch(tmp_path, mirrors=[first, second], checksums=SUMS, console=quiet())
    message = str(caught.value)
    assert f"{first}first-ubyte.gz: wrong checksum" in message
    assert f"{second}first-ubyte.gz: 404" in message
    assert "\n" not in message
    assert not list(tmp_path.iterdir())


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot write to .*file.*--to"):
        fetch(tmp_path / "file" / "cache", mirrors=[], checksums=SUMS, console=quiet())


def test_the_command_ends_with_one_line_and_exit_code_2(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SystemExit) as caught:
        command.main(["fetch", "--to", str(tmp_path / "file")])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: cannot write to ")
    assert error.count("\n") == 1


def test_the_public_mirrors_are_encrypted_and_the_checksums_whole():
    assert len(MIRRORS) > 1
    assert all(url.startswith("https://") for url in MIRRORS)
    assert {len(bytes.fromhex(checksum)) for checksum in CHECKSUMS.values()} == {32}
