"""Of two processes of one training, the first writes and speaks, the other does not."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nndiag
from nndiag import store
from nndiag.records import QUANTITIES
from nndiag.session.reduction import reduce_readings

PROGRAM = Path(__file__).with_name("distributed.py")
FOUND = {"PYTHONPATH": str(PROGRAM.parent)}
COMMAND = [sys.executable, "-m", "nndiag", "run", "--every", "3", "--dpi", "30"]


def both(folder, make):
    """Standard output and error of two processes, each in a directory of its own."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    started = []
    for rank in "01":
        here = folder / rank
        here.mkdir()
        flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4"
        environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
        arguments, given = make(port, rank)
        started.append(
            subprocess.Popen(
                arguments,
                cwd=here,
                env={**environment, **given},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        said = [process.communicate(timeout=240) for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], said
    return said


def kept(folder):
    return sorted(path.name for path in (folder / "1").rglob("*"))


@pytest.fixture(scope="module")
def alone():
    """The readings of each step, on one device."""
    numbers = np.random.default_rng(0)
    weights = [numbers.normal(size=(8, 8)).astype(np.float32) * 0.5 for _ in range(2)]
    batches = numbers.normal(size=(12, 16, 8)).astype(np.float32)

    def train_step(weights, x):
        def loss(weights, x):
            for w in weights:
                x = jnp.tanh(x @ w)
            return jnp.mean(x**2)

        value, gradients = jax.value_and_grad(loss)(weights, x)
        return jax.tree.map(lambda w, g: w - 0.1 * g, weights, gradients), value

    watched, read = jax.jit(nndiag.watch(train_step)), []
    for x in batches:
        (weights, _), readings = watched(weights, x)
        read.append(reduce_readings(jax.device_get(readings)))
    return read


def compare(run, alone):
    assert run.status == "finished"
    np.testing.assert_allclose(run.loss, [one.loss for one in alone], rtol=1e-5)
    compared = 0
    for role in ("value", "cotangent", "parameter", "gradient", "update"):
        for site in getattr(alone[0], role):
            (own,) = [other for other in run.sites if str(other) == str(site)]
            for name in QUANTITIES:
                if getattr(getattr(alone[0], role)[site], name) is None:
                    continue
                expected = [
                    getattr(getattr(alone[step], role)[site], name)
                    for step in run.recorded
                ]
                series = run.series(role, name, own)
                np.testing.assert_allclose(series, expected, rtol=1e-4, atol=1e-6)
                compared += 1
    assert compared > 30


def test_record(tmp_path, alone):
    said = both(
        tmp_path, lambda port, rank: ([sys.executable, PROGRAM, port, rank, "run"], {})
    )
    assert "same True 0 False" in said[0][0]
    assert "same True 0 True" in said[1][0]
    assert kept(tmp_path) == []
    assert (tmp_path / "0/run/report.html").is_file()
    compare(store.read(tmp_path / "0/run"), alone)


def test_script(tmp_path, alone):
    def make(port, rank):
        script = ["-m", "distributed", "--", port, rank, "script"]
        return [*COMMAND, "--out", "run", *script], FOUND

    said = both(tmp_path, make)
    assert all("loss 0." in output for output, _ in said)
    assert "nndiag:" in said[0][1]
    assert "nndiag" not in said[1][0] + said[1][1]
    assert kept(tmp_path) == []
    run = store.read(tmp_path / "0/run")
    assert run.recorded.tolist() == [0, 3, 6, 9]
    compare(run, alone)


def test_target(tmp_path, alone):
    def make(port, rank):
        given = {**FOUND, "NNDIAG_TEST": f"{port} {rank}"}
        return [*COMMAND, "--out", "run", "distributed"], given

    said = both(tmp_path, make)
    assert said[0][0]
    assert [line for line in said[1][0].splitlines() if "Gloo" not in line] == []
    assert "nndiag" not in said[1][1]
    assert kept(tmp_path) == []
    compare(store.read(tmp_path / "0/run"), alone)
