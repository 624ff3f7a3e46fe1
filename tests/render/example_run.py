"""Runs made by hand: a deep sigmoid network that cannot learn, and a healthy one."""

from __future__ import annotations

from dataclasses import replace as replace
from pathlib import Path
from typing import Any

import numpy as np

from nndiag.records import (
    Evidence,
    Finding,
    Header,
    Readings,
    Run,
    Site,
    StepRecord,
    TensorStats,
)

HIDDEN = 7
STEPS = 1_500
EVERY = 10


def sites(function: str = "sigmoid", depth: int = HIDDEN) -> tuple[Site, ...]:
    """Input, `depth` hidden layers with weight, bias and activation, output, logits."""
    found = [Site("input", kind="input", order=0, shape=(128, 784))]
    for layer in range(1, depth + 2):
        scope = f"hidden_{layer}" if layer <= depth else "output"
        order = 10 * layer
        for place, (name, shape) in enumerate(
            (("weight", (512, 512)), ("bias", (512,)))
        ):
            found.append(
                Site(
                    f"{scope}/{name}",
                    kind="parameter",
                    scope=scope,
                    order=order + place,
                    shape=shape,
                    file="mnist_model/model.py",
                    line=41 + place,
                )
            )
        if layer <= depth:
            found.append(
                Site(
                    f"{scope}/{function}",
                    kind="activation",
                    scope=scope,
                    function=function,
                    order=order + 5,
                    shape=(128, 512),
                    file="mnist_model/model.py",
                    line=44,
                )
            )
    found.append(Site("logits", kind="logits", order=1000, shape=(128, 10)))
    return tuple(found)


def sick_run(
    *, steps: int = STEPS, every: int = EVERY, depth: int = HIDDEN, path: str = "run-1"
) -> Run:
    """Sigmoid layers, 60 to 80 % saturated; gradients fall tenfold per layer."""
    random = np.random.default_rng(7)
    places = sites(depth=depth)
    numbers = np.arange(steps)
    recorded = numbers[::every]
    shape = recorded.shape
    readings: dict[Any, Any] = {}
    samples: dict[Any, Any] = {}

    def noisy(level: float, spread: float = 0.1) -> Any:
        return level * np.exp(spread * random.standard_normal(shape))

    for site in places:
        layer = min(site.order // 10, depth + 1)
        behind = depth + 1 - layer
        gradient = 3e-2 * 10.0 ** -float(behind)
        if site.kind == "activation":
            share = min(0.62 + 0.02 * layer, 0.9) + 0.05 * recorded / steps
            readings["value", "saturated", site] = share + 0.01 * noisy(1.0)
            readings["value", "slope", site] = noisy(0.04, 0.02)
            readings["cotangent", "norm", site] = noisy(gradient)
            for step in (0, int(recorded[-1])):
                raw = 1 / (1 + np.exp(-5 * random.standard_normal(256)))
                samples[site, step] = raw
        if site.kind in ("activation", "logits", "input"):
            size = {"input": 1.0, "logits": 40.0}.get(site.kind, 1.0)
            readings["value", "largest", site] = noisy(size, 0.05)
        if site.kind == "parameter":
            weight = 512.0 if site.endswith("weight") else 16.0
            readings["parameter", "norm", site] = noisy(weight, 1e-3)
            readings["parameter", "largest", site] = noisy(4.0, 1e-3)
            readings["gradient", "norm", site] = noisy(10 * gradient)
            readings["gradient", "largest", site] = noisy(gradient)
            readings["update", "norm", site] = noisy(5 * gradient)
        if site.kind == "logits":
            readings["cotangent", "norm", site] = noisy(3e-2)
    decay = np.exp(-numbers / 20)
    return Run(
        path=Path(path),
        header=Header(
            target="mnist_model:target",
            command="nndiag run --watch-saturation",
            seed=0,
            every=every,
            watched=("saturation", "gradients", "updates"),
            steps_planned=steps,
            settings={
                "preset": "deep-sigmoid",
                "activation": "sigmoid",
                "init": "normal(0.8)",
                "depth": depth,
                "width": 512,
                "learning_rate": 0.1,
                "batch_size": 128,
            },
            versions={
                "python": "3.11.9",
                "jax": "0.10.2",
                "jaxlib": "0.10.2",
                "numpy": "2.4.6",
                "nndiag": "0.1.0",
            },
            device="cpu",
            git="0123456789abcdef0123",
            started="2026-01-02T03:04:05Z",
        ),
        status="finished",
        seconds=23.4,
        sites=places,
        steps=numbers,
        loss=2.3 + 0.5 * decay + 0.01 * random.standard_normal(steps),
        metrics={},
        evaluations={
            "loss": (
                np.array([steps // 3, 2 * steps // 3, steps - 1]),
                np.array([2.304, 2.303, 2.302]),
            ),
            "accuracy": (np.array([steps - 1]), np.array([0.1135])),
        },
        recorded=recorded,
        finite=np.ones(shape, bool),
        readings=readings,
        samples=samples,
        notes=("The body of one custom_vjp_call was evaluated whole: no sites.",),
    )


def findings(run: Run) -> tuple[Finding, ...]:
    """What rules would say of the sick run: a cause with symptoms, and a warning."""
    activations = run.of_kind("activation")
    weights = tuple(s for s in run.of_kind("parameter") if s.endswith("weight"))
    last = int(run.recorded[-1])
    small = Finding(
        code="ND205",
        name="update_too_small",
        title="Updates change hidden_1/weight by 3.7e-10 of its size per step",
        severity="warning",
        confidence=0.88,
        sites=weights[:3],
        first_step=0,
        last_step=last,
        evidence=(
            Evidence(
                quantity="update-to-weight ratio of hidden_1/weight, median",
                value=3.7e-10,
                threshold=1e-6,
                source="healthy runs of the gallery",
            ),
        ),
        cause="The gradient that reaches these weights is too small for the step size.",
        remedies=("Mend the vanishing gradient first.",),
        picture="update",
    )
    saturated = Finding(
        code="ND101",
        name="saturated_activation",
        title="64 to 81 % of the sigmoid units sit where their slope is nearly 0",
        severity="error",
        confidence=0.97,
        sites=activations,
        first_step=0,
        last_step=last,
        evidence=(
            Evidence(
                quantity="share of saturated units, median over layers",
                value=0.71,
                threshold=0.5,
                source="SageMaker Debugger, SaturatedActivation",
            ),
            Evidence(quantity="mean slope |σ′(z)|", value=0.04),
        ),
        cause="The initial weights have standard deviation 0.8: with 512 inputs the "
        "pre-activations spread over ±18, far beyond the ±5 where σ′ is nearly 0.",
        remedies=("Glorot initialisation.", "Normalise the pre-activations."),
        picture="saturation",
    )
    vanishing = Finding(
        code="ND201",
        name="vanishing_gradient",
        title="The gradient vanishes: it shrinks 10× per layer, 1.0e6× from the "
        "output to hidden_1",
        severity="error",
        confidence=0.99,
        sites=activations,
        first_step=0,
        last_step=last,
        evidence=(
            Evidence(
                quantity="gradient norm, first layer over last layer",
                value=1.0e-6,
                threshold=1e-3,
                source="AutoTrainer, Vanish",
            ),
            Evidence(
                quantity="factor per layer of depth, geometric mean",
                value=0.1,
                threshold=0.25,
                source="the largest slope of a sigmoid",
            ),
        ),
        cause="Each sigmoid passes on σ′(z) times the gradient. At best σ′ is 1/4; "
        "here 71 % of the units are saturated from the initial weights on and the mean "
        "slope is 0.04, so hidden_1 learns a million times slower than the output.",
        remedies=(
            "Use relu with He initialisation: nndiag run --set activation=relu "
            "--set init=he",
            "Keep the sigmoid and draw the initial weights with Glorot's scale: "
            "--set init=glorot",
            "Use fewer layers: --set depth=2",
        ),
        picture="profile",
        symptoms=(saturated, small),
    )
    slow = Finding(
        code="ND301",
        name="wrong_initial_loss",
        title="The first loss is 2.80, not ln 10 = 2.30",
        severity="warning",
        confidence=0.7,
        sites=(),
        first_step=0,
        last_step=0,
        evidence=(
            Evidence(
                quantity="first loss over ln C",
                value=1.22,
                threshold=1.1,
                source="ln C",
            ),
        ),
        cause="The output weights are so large that the first guesses are confident.",
        remedies=("Scale the last layer's initial weights down.",),
        picture="loss",
    )
    return (vanishing, slow)


def healthy_run() -> Run:
    """Three relu layers that learn; nothing to find."""
    random = np.random.default_rng(3)
    places = sites("relu", depth=3)
    numbers = np.arange(600)
    recorded = numbers[::EVERY]
    shape = recorded.shape
    readings: dict[Any, Any] = {}
    samples: dict[Any, Any] = {}
    for site in places:
        noise = np.exp(0.1 * random.standard_normal(shape))
        if site.kind == "activation":
            readings["value", "saturated", site] = 0.01 * noise
            readings["value", "slope", site] = 0.5 * noise
            readings["value", "largest", site] = 6.0 * noise
            readings["cotangent", "norm", site] = 0.02 * noise
            for step in (0, int(recorded[-1])):
                samples[site, step] = np.maximum(random.standard_normal(256), 0)
        if site.kind == "parameter":
            readings["parameter", "norm", site] = 20.0 * noise
            readings["update", "norm", site] = 0.02 * noise
            readings["gradient", "norm", site] = 0.2 * noise
    return Run(
        path=Path("run-2"),
        header=Header(
            target="mnist_model:target",
            every=EVERY,
            steps_planned=600,
            settings={"preset": "relu"},
            versions={"jax": "0.10.2"},
            device="cpu",
        ),
        status="finished",
        seconds=9.8,
        sites=places,
        steps=numbers,
        loss=2.3 * np.exp(-numbers / 90) + 0.08 + 0.01 * random.standard_normal(600),
        metrics={},
        evaluations={"accuracy": (np.array([599]), np.array([0.972]))},
        recorded=recorded,
        finite=np.ones(shape, bool),
        readings=readings,
        samples=samples,
        notes=(),
    )


def empty_run() -> Run:
    """A run that ended before its first step."""
    nothing = np.zeros(0)
    none = np.zeros(0, np.int64)
    return Run(
        path=Path("run-3"),
        header=Header(),
        status="failed",
        seconds=0.0,
        sites=(),
        steps=none,
        loss=nothing,
        metrics={},
        evaluations={},
        recorded=none,
        finite=np.zeros(0, bool),
        readings={},
        samples={},
        notes=(),
    )


def step_records(run: Run) -> list[StepRecord]:
    """The records that a recorder would have handed on, one per step."""
    at = {int(step): index for index, step in enumerate(run.recorded)}
    return [
        StepRecord(
            step=int(step),
            seconds=run.seconds * (position + 1) / len(run.steps),
            loss=float(run.loss[position]),
            metrics={},
            readings=_readings(run, at[int(step)]) if int(step) in at else None,
        )
        for position, step in enumerate(run.steps)
    ]


def _readings(run: Run, index: int) -> Readings:
    fields: dict[str, dict[Site, dict[str, float]]] = {}
    for (role, quantity, site), series in run.readings.items():
        fields.setdefault(role, {}).setdefault(site, {})[quantity] = float(
            series[index]
        )
    stats = {
        role: {site: TensorStats(**values) for site, values in found.items()}
        for role, found in fields.items()
    }
    empty: dict[Site, TensorStats] = {}
    return Readings(
        loss=None,
        finite=1.0,
        value=stats.get("value", empty),
        cotangent=stats.get("cotangent", empty),
        parameter=stats.get("parameter", empty),
        gradient=stats.get("gradient", empty),
        update=stats.get("update", empty),
    )
