"""Readings of sharded programs are those of one device."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).with_name("sharded_programs.py")
CASES = [
    "batch split",
    "weights split",
    "inner jit",
    "checked",
    "unchecked",
    "summed by JAX",
    "loss, checked",
    "loss, unchecked",
    "gathered, checked",
    "gathered, unchecked",
    "tensor parallel",
    "jit inside",
    "checkpoint",
    "layers",
    "scan of steps",
    "pmap",
    "explicit",
    "explicit, set_mesh",
]


@pytest.fixture(scope="module")
def told():
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    ended = subprocess.run(
        [sys.executable, PROGRAMS],
        env={
            **os.environ,
            "XLA_FLAGS": flags,
            "JAX_PLATFORMS": "cpu",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", CASES)
def test_readings_and_bits_are_those_of_one_device_and_of_the_bare_program(told, case):
    assert told[case] == []


def test_the_updates_of_copies_spread_only_where_the_average_was_forgotten(told):
    spreads = told["spreads"]
    norms = spreads["device by device"]
    expected = (max(norms) - min(norms)) / max(norms)
    assert spreads["copies"]["update"] == spreads["copies"]["parameter"] == [0, 0]
    assert spreads["averaged"]["update"] == [None] * 2  # it follows from the program
    for name in ("forgotten", "copies forgotten"):
        assert spreads[name]["update"][0] == pytest.approx(expected, rel=1e-4)
    for name in ("averaged", "copies"):  # before they are averaged
        assert spreads[name]["gradient"][0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("case", ["batch", "weights", "shard_map"])
def test_statistics_bring_no_large_array_together(told, case):
    # the smallest array has 16,384 elements; a statistic has a few hundred
    assert told["traffic"][case] < 16_384


def test_a_jitted_function_that_is_entered_keeps_its_shardings(told):
    assert told["inner sharding"]


def test_arguments_are_not_given_away_under_an_eager_watch(told):
    assert told["kept"]
