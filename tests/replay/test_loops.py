"""Loops: the iteration is found without replaying the others."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nndiag.replay import autopsy, loops


def line_of(marker: str) -> int:
    """The line of this file that ends with the comment `marker`."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    (found,) = [n for n, line in enumerate(lines, 1) if line.endswith(f"# {marker}")]
    return found


def examine(fn, *args, **options):
    found = autopsy(fn, *args, **options)
    assert found is not None
    return found


@pytest.fixture(params=["stepped", "searched"])
def either_way(request, monkeypatch):
    """Short loops are replayed step by step, long ones searched: both must agree."""
    if request.param == "searched":
        monkeypatch.setattr(loops, "_BUDGET", 0)
        monkeypatch.setattr(loops, "_TRIED", 1)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_iteration_is_the_position_in_xs(either_way, reverse):
    def fn(x, xs):
        def step(c, t):
            return c + 1, jnp.log(t) * c  # log

        return jax.lax.scan(step, x, xs, reverse=reverse)

    xs = np.ones((20, 2), np.float32)
    xs[13, 1] = -1
    found = examine(fn, 1.0, xs)
    assert (found.primitive, found.path) == ("log", ("scan[13]",))
    assert (found.line, found.elements) == (line_of("log"), ((1,),))
    assert found.output == "[1]"


def test_overflow_in_a_long_scan(monkeypatch):
    def fn(x):
        def step(c, _):
            return c * 1.0092, None  # grow

        return jax.lax.scan(step, x, None, length=10_000)[0]

    value, iteration = np.float32(1), 0
    with np.errstate(over="ignore"):
        while np.isfinite(value := np.float32(value * np.float32(1.0092))):
            iteration += 1
    assert 9000 < iteration < 10_000
    steps = []
    monkeypatch.setattr(
        loops._Loop,
        "_step",
        lambda loop, step=loops._Loop._step: steps.append(step(loop)),
    )
    found = examine(fn, 1.0)
    assert (found.kind, found.primitive) == ("inf", "mul")
    assert found.path == (f"scan[{iteration}]",)
    assert (found.line, found.output) == (line_of("grow"), "")
    assert len(steps) < 10


def test_the_origin_may_be_an_earlier_iteration(either_way):
    def fn(x):
        def step(c, t):
            big = jnp.exp(c[0])  # exp
            return (c[0] + 10, jnp.minimum(big, c[1] + big)), c[1] - c[1]  # late

        return jax.lax.scan(step, (x, x), jnp.arange(30.0))

    # exp(c) with c = 5, 15, … overflows float32 beyond 88.72: iteration 9; the Inf is
    # carried, and subtracted from itself in iteration 10.
    found = examine(fn, 5.0)
    assert (found.kind, found.primitive, found.path) == ("nan", "sub", ("scan[10]",))
    assert found.line == line_of("late")
    assert found.origin is not None
    assert (found.origin.primitive, found.origin.path) == ("exp", ("scan[9]",))
    assert found.origin.line == line_of("exp")
    assert [link.kind for link in found.chain][:2] == ["inf", "inf"]


def test_the_transposed_scan_is_entered(either_way):
    def fn(x, xs):
        def step(c, t):
            return c * jnp.sqrt(t * x), None  # root

        return jax.lax.scan(step, 1.0, xs)[0]

    xs = np.linspace(1, 2, 12, dtype=np.float32)
    xs[7] = 0
    found = examine(jax.jit(jax.grad(fn)), 1.0, xs)
    assert (found.direction, found.kind) == ("backward", "nan")
    assert (found.path, found.line) == (("scan[7]",), line_of("root"))
    assert found.origin is not None
    assert (found.origin.primitive, found.origin.path) == ("div", ("scan[7]",))


def test_what_is_masked_a_thousand_times_hides_nothing():
    def fn(xs):
        def step(c, t):
            safe = jnp.where(t > 0, jnp.log(t), 0.0)
            return c + safe, jnp.sqrt(1e4 - t * t)  # late root

        return jax.lax.scan(step, 0.0, xs)

    xs = np.where(np.arange(4000) % 3 == 0, -1.0, 2.0).astype(np.float32)
    assert autopsy(fn, xs) is None
    xs[3331] = 101
    found = examine(fn, xs)
    assert (found.primitive, found.line) == ("sqrt", line_of("late root"))
    assert found.path == ("scan[3331]",)
    assert examine(fn, xs, ignore_masked=False).path == ("scan[3331]",)


def test_while_loops_count_their_iterations(either_way):
    def fn(x):
        def body(c):
            return c[0] + 1, jnp.sqrt(c[1] - 1)  # sink

        return jax.lax.while_loop(lambda c: c[0] < 50, body, (0, x))[1]

    value, iteration = np.float32(1e4), 0
    with np.errstate(invalid="ignore"):
        while not np.isnan(value := np.sqrt(value - np.float32(1))):
            iteration += 1
    found = examine(fn, 1e4)
    assert (found.primitive, found.path) == ("sqrt", (f"while[{iteration}]",))
    assert found.line == line_of("sink")


def test_loops_in_loops_and_branches(either_way):
    def fn(x):
        def inner(i, c):
            safe = i != 3
            return jax.lax.cond(safe, jnp.sin, lambda c: jnp.log(c - 10), c)  # deep

        def outer(c, t):
            stop = jnp.where(t == 4, 6, 2)
            return jax.lax.fori_loop(0, stop, inner, c), None

        return jax.lax.scan(outer, x, jnp.arange(8))[0]

    found = examine(fn, 0.5)
    assert found.primitive == "log"
    assert found.path == ("scan[4]", "while[3]", "cond.branch0")
    assert found.line == line_of("deep")


def test_a_bad_row_of_an_argument_is_the_argument(either_way):
    xs = np.ones((40, 2), np.float32)
    xs[31, 0] = np.nan
    found = examine(lambda xs: jax.lax.scan(lambda c, t: (c + t, c), xs[0], xs), xs)
    assert (found.argument, found.elements) == ("xs", ((31, 0),))
    assert found.output == "[0]"


def test_random_keys_may_be_carried_and_scanned(either_way):
    def fn(key, x):
        def step(carry, row):
            key, c = carry
            key, use = jax.random.split(key)
            noise = jax.random.uniform(use) + jax.random.uniform(row[0])
            return (key, c - 1), jnp.sqrt(c + 0 * noise)  # keyed

        rows = (jax.random.split(key, 20), jnp.arange(20))
        return jax.lax.scan(step, (key, x), rows)[1]

    found = examine(fn, jax.random.key(1), 6.5)
    assert (found.path, found.line) == (("scan[7]",), line_of("keyed"))


def test_healthy_and_empty_loops_give_none(either_way):
    def fn(x, xs):
        return jax.lax.scan(lambda c, t: (jnp.tanh(c + t), c), x, xs)

    assert autopsy(jax.grad(lambda x, xs: fn(x, xs)[0]), 1.0, jnp.ones(50)) is None
    assert autopsy(fn, 1.0, jnp.ones(0)) is None


@pytest.mark.parametrize("stop", [15, 150])
def test_lanes_of_a_while_stop_each_for_itself(stop):
    def fn(lengths, poles):
        def count(length, pole):
            def body(state):
                return state[0] + 1, 1.0 / (pole - state[0])  # lane

            return jax.lax.while_loop(lambda s: s[0] < length, body, (0, 1.0))[1]

        return jax.vmap(count)(lengths, poles)

    # Lane 0 stops before its pole, although the loop goes on; lane 1 ends on its pole.
    lengths, poles = np.array([stop - 5, stop + 1]), np.array([stop - 5, stop])
    found = examine(fn, lengths, poles)
    assert (found.kind, found.primitive, found.line) == ("inf", "div", line_of("lane"))
    assert (found.path, found.elements) == ((f"while[{stop}]",), ((1,),))
    assert not found.notes
    values = [
        np.float32(1) / (p - i)
        for n, p in zip(lengths, poles, strict=True)
        for i in range(n)
        if p != i
    ]
    assert np.isfinite(values).all() and len(values) == lengths.sum() - 1
    for options in ({}, {"ignore_masked": False}):
        assert autopsy(fn, lengths, lengths, **options) is None


def test_a_mapped_while_in_a_long_scan():
    def fn(xs):
        def count(start, length):
            def body(state):
                return state[0] + 1, jnp.log(start - state[0])  # buried

            return jax.lax.while_loop(lambda s: s[0] < length, body, (0.0, 0.0))[1]

        def step(total, x):
            ends = jax.vmap(count, (None, 0))(x, jnp.array([2.0, 4.0]))
            return total + ends.sum(), ends

        return jax.lax.scan(step, 0.0, xs)

    xs = np.full(3000, 10, np.float32)
    assert autopsy(fn, xs) is None
    # log(3.5 - i) is real up to i = 3, log(1.5 - i) up to i = 1: lane 0 stops there.
    xs[2000] = 1.5
    found = examine(fn, xs)
    assert found.line == line_of("buried")
    assert found.path == ("scan[2000]", "while[3]")
    assert found.elements == ((1,),)
