"""Runs whose every series is known in closed form: no network is trained here."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nndiag.records import (
    NAN_CHECK_REVIVED,
    Autopsy,
    Coverage,
    Header,
    Operand,
    Run,
    Site,
)

Build = Callable[..., Run]


def build(
    *,
    function: str = "relu",
    depth: int = 6,
    rows: int = 128,
    steps: int = 300,
    every: int = 10,
    loss: Any = None,
    gradient_per_layer: float = 1.0,
    gradient_over_time: Any = 1.0,
    std_per_layer: float = 1.0,
    saturated: Any = 0.0,
    slope: Any = 0.5,
    dead: Any = 0.02,
    update: Any = 3e-3,
    inputs: tuple[float, float, float] = (0.13, 0.31, 1.0),
    largest: Any = 4.0,
    dtype: str = "float32",
    scopes: bool = True,
) -> Run:
    """A dense network of `depth` hidden layers of 64 units, then 10 logits.

    A number stands for a constant series; an array of shape (R,), or (layers, R) for
    what belongs to an activation, for itself. The loss falls from ln 10 to 0.05.
    """
    when = np.arange(steps)
    recorded = when[::every]
    falling = 0.05 + (math.log(10) - 0.05) * np.exp(-when / 60)
    loss = falling if loss is None else np.broadcast_to(loss, steps).astype(float)
    sites: list[Site] = []
    readings: dict[Any, Any] = {}

    def add(key: str, **attributes: Any) -> Site:
        sites.append(Site(key, order=len(sites), dtype=dtype, **attributes))
        return sites[-1]

    def read(role: str, site: Site, **quantities: Any) -> None:
        for quantity, value in quantities.items():
            series = np.broadcast_to(value, recorded.shape).astype(float)
            readings[role, quantity, site] = series

    def of(layer: int, value: Any) -> Any:
        return value[layer] if np.ndim(value) == 2 else value

    def dense(scope: str, fan_in: int, fan_out: int) -> None:
        for key, shape in (("w", (fan_in, fan_out)), ("b", (fan_out,))):
            site = add(f"{scope}/{key}", kind="parameter", scope=scope, shape=shape)
            size = 8.0 if key == "w" else 1e-12
            read("parameter", site, norm=size, largest=0.5)
            read("update", site, norm=8.0 * update, largest=0.01)
            read("gradient", site, norm=gradient_over_time, largest=0.1)

    mean, std, peak = inputs
    x = add("input", kind="input", shape=(rows, 784))
    read("value", x, mean=mean, std=std, largest=peak)
    for layer in range(depth):
        scope = f"hidden_{layer + 1}"
        dense(scope, 784 if layer == 0 else 64, 64)
        site = add(
            f"{scope}/{function}",
            kind="activation",
            scope=scope if scopes else "",
            function=function,
            shape=(rows, 64),
        )
        read(
            "value",
            site,
            mean=0.4,
            std=0.6 * std_per_layer**layer,
            largest=of(layer, largest),
            zero=0.5,
            saturated=of(layer, saturated),
            slope=of(layer, slope),
            dead_units=of(layer, dead),
        )
        read("cotangent", site, norm=gradient_per_layer ** (depth - 1 - layer))
    dense("output", 64, 10)
    logits = add("logits", kind="logits", shape=(rows, 10))
    read("value", logits, mean=0.0, std=1.0, largest=3.0)
    return Run(
        path=Path("run"),
        header=Header(every=every),
        status="finished",
        seconds=1.0,
        sites=tuple(sites),
        steps=when,
        loss=loss,
        metrics={},
        evaluations={},
        recorded=recorded,
        finite=np.ones(recorded.shape, bool),
        readings=readings,
        samples={},
        notes=(),
    )


def spoil(run: Run, step: int, *first: tuple[str, str]) -> Run:
    """The run with NaN in `(role, site)` readings and the loss from `step` on.

    What begins in the backward pass breaks the loss one step later.
    """
    late = run.recorded >= step
    backward = {role for role, _ in first} <= {"cotangent", "gradient"}
    loss = np.where(run.steps >= step + (backward and bool(first)), np.nan, run.loss)
    readings = {
        key: np.where(late, np.nan, series) if (key[0], key[2]) in first else series
        for key, series in run.readings.items()
    }
    return dataclasses.replace(run, loss=loss, finite=~late, readings=readings)


def autopsy(**changes: Any) -> Autopsy:
    """The square of 300 in float16, which overflows, and 1/Inf = 0 after it."""
    operand = Operand(
        dtype="float16", shape=(4,), low=-2.0, high=300.0, values=(300.0,)
    )
    result = Operand(
        dtype="float16", shape=(4,), low=0.0, high=4.0, infs=1, values=(math.inf,)
    )
    found = Autopsy(
        kind="inf",
        primitive="square",
        file="train.py",
        line=12,
        column=9,
        source="y = x * jax.lax.rsqrt(jnp.mean(x**2))",
        direction="forward",
        scope="hidden_2",
        path=(),
        elements=((3,),),
        count=1,
        operands=(operand,),
        result=result,
        reaches_output=False,
        cause="300 squared is 9e4, beyond the 65504 of float16.",
        rewrite="y = x * jax.lax.rsqrt(jnp.mean(jnp.float32(x) ** 2))",
    )
    return dataclasses.replace(found, **changes)


def plateau(steps: int = 300) -> Any:
    """A loss that stays near ln 10, with a ripple of 0.01 nats."""
    return math.log(10) + 0.01 * np.sin(2.4 * np.arange(steps))


def deep_sigmoid() -> Run:
    """Eight sigmoid layers, the first one saturated by its initial weights."""
    first = np.arange(8)[:, None] == 0
    layers = np.ones((8, 30))
    return build(
        function="sigmoid",
        depth=8,
        loss=plateau(),
        gradient_per_layer=0.35,
        saturated=np.where(first, 0.6, 0.02) * layers,
        slope=np.where(first, 0.047, 0.2) * layers,
        dead=0.0,
        update=2e-5,
    )


def added(run: Run, **series: Any) -> Run:
    """The run with more places: (kind, shape, quantities) by name."""
    readings, sites = dict(run.readings), list(run.sites)
    for key, (kind, shape, quantities) in series.items():
        site = Site(key, kind=kind, shape=shape, order=len(sites))
        sites.append(site)
        for quantity, value in quantities.items():
            readings["value", quantity, site] = np.broadcast_to(
                value, run.recorded.shape
            ).astype(float)
    return dataclasses.replace(run, sites=tuple(sites), readings=readings)


def heads(
    run: Run,
    *,
    collapsed: int,
    of: int = 8,
    entropy: float = 0.004,
    logits: Any = None,
    keys: int = 64,
) -> Run:
    """`collapsed` heads fall to `entropy` at half time, the others stay at 0.5."""
    falling = np.where(np.arange(30) < 15, 0.5, entropy)
    grown = np.linspace(3, 40, 30) if logits is None else logits
    places = {
        f"head{number}": (
            "attention",
            (8, of, keys, keys),
            {"entropy": falling, "largest": grown}
            if number < collapsed
            else {"entropy": 0.5, "largest": 4.0},
        )
        for number in range(of)
    }
    return added(run, **places)


def branch(run: Run, ratio: Any) -> Run:
    """One of three residual branches has this ratio, the others 0.3."""
    healthy = ("residual", (8, 64), {"ratio": 0.3, "norm": 1.0})
    odd = ("residual", (8, 64), {"ratio": ratio, "norm": 1.0})
    return added(run, first=healthy, second=odd, third=healthy)


def table(
    run: Run, *, trained: int, latest: int = 40, steps: int = 30, stride: int = 1
) -> Run:
    """Of 1,000 watched rows of an embedding so many had a gradient."""
    site = Site("embedding", kind="parameter", shape=(1000 * stride, 8))
    touched = np.arange(1000) < trained
    coverage = {site: Coverage(touched, stride, steps, latest)}
    norm = {("gradient", "norm", site): np.ones(run.recorded.shape)}
    return dataclasses.replace(
        run,
        sites=(*run.sites, site),
        coverage=coverage,
        readings={**run.readings, **norm},
    )


def apart(run: Run, spread: float) -> Run:
    """The updates of the first weights differ so much from device to device."""
    site = run.of_kind("parameter")[0]
    series = np.full(run.recorded.shape, spread)
    readings = {**run.readings, ("update", "spread", site): series}
    return dataclasses.replace(run, readings=readings)


def _patients() -> dict[str, tuple[Run, Run]]:
    ramp = np.linspace(0, 1, 30)
    rising = math.log(10) * (1 + np.arange(300) / 100)
    converged = 1e-3 * (2 + np.sin(2.4 * np.arange(300)))
    converged[:30] = np.linspace(2.3, 1e-3, 30)
    zero_start = np.r_[np.inf, np.full(29, 3e-3)]
    warm_up = np.minimum(1e-5 * 1.3 ** np.arange(30), 3e-3)
    healthy_floats = build(largest=np.exp2(7 + ramp) * np.ones((6, 1)))
    overflowing = np.exp2(8 + 7 * ramp) * np.ones((6, 1))
    return {
        "ND101": (
            build(function="tanh", saturated=0.7, slope=0.1, loss=plateau()),
            build(function="relu", saturated=0.55, slope=0.45, loss=plateau()),
        ),
        "ND102": (
            build(dead=0.95 * (ramp > 0.3), loss=plateau()),
            build(dead=0.3, loss=plateau()),
        ),
        "ND103": (build(std_per_layer=0.2), build(std_per_layer=0.7)),
        "ND109": (
            heads(build(loss=plateau()), collapsed=6),
            heads(build(loss=plateau()), collapsed=3),
        ),
        "ND110": (
            branch(build(loss=plateau()), np.zeros(30)),
            branch(build(loss=plateau()), 30.0),
        ),
        "ND201": (build(gradient_per_layer=0.25), build(gradient_per_layer=0.7)),
        "ND202": (
            build(gradient_over_time=10 ** (4 * ramp), loss=rising),
            build(gradient_over_time=10 ** (4 * ramp)),
        ),
        "ND205": (
            build(update=1e-6, loss=plateau()),
            build(update=warm_up[:30], loss=plateau()),
        ),
        "ND206": (build(update=0.3), build(update=zero_start)),
        "ND210": (table(build(), trained=100), table(build(), trained=600)),
        "ND211": (apart(build(), 0.4), apart(build(), 1e-6)),
        "ND301": (build(loss=8.0), build(loss=2.6)),
        "ND303": (build(loss=rising), build(loss=converged)),
        "ND401": (
            spoil(build(), 100, ("cotangent", "hidden_3/relu")),
            build(),
        ),
        "ND402": (build(largest=overflowing, dtype="float16"), healthy_floats),
        "ND404": (
            dataclasses.replace(build(), autopsies={100: autopsy()}),
            dataclasses.replace(build(), autopsies={}),
        ),
        "ND602": (
            dataclasses.replace(build(), notes=(NAN_CHECK_REVIVED,)),
            dataclasses.replace(build(), notes=("Interrupted at step 3.",)),
        ),
        "ND701": (build(inputs=(33.0, 78.0, 255.0)), build(inputs=(0.001, 0.03, 1.0))),
    }


@pytest.fixture(name="build", scope="session")
def build_fixture() -> Build:
    return build


@pytest.fixture(name="spoil", scope="session")
def spoil_fixture() -> Callable[..., Run]:
    return spoil


@pytest.fixture(name="autopsy", scope="session")
def autopsy_fixture() -> Callable[..., Autopsy]:
    return autopsy


@pytest.fixture(name="heads", scope="session")
def heads_fixture() -> Build:
    return heads


@pytest.fixture(name="branch", scope="session")
def branch_fixture() -> Build:
    return branch


@pytest.fixture(name="table", scope="session")
def table_fixture() -> Build:
    return table


@pytest.fixture(name="plateau", scope="session")
def plateau_fixture() -> Any:
    return plateau()


@pytest.fixture(name="deep_sigmoid", scope="session")
def deep_sigmoid_fixture() -> Run:
    return deep_sigmoid()


@pytest.fixture(scope="session")
def patients() -> dict[str, tuple[Run, Run]]:
    """Code to (a run that has the disease, one that looks like it and is healthy)."""
    return _patients()
