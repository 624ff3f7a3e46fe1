"""Watches programs on eight devices; says where they disagree with one device.

Run by `test_sharding.py` in a process of its own, as devices are simulated from the
start of JAX on.
"""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import nndiag
from nndiag.records import QUANTITIES, Readings
from nndiag.session.reduction import reduce_readings

P = PartitionSpec
WHOLE, SPLIT = P(), P("d")
LINE = jax.make_mesh((8,), ("d",), axis_types=(AxisType.Auto,))
PLANE = jax.make_mesh((4, 2), ("d", "m"), axis_types=(AxisType.Auto,) * 2)
KEYS = jax.random.split(jax.random.key(0), 3)
WEIGHTS = [jax.random.normal(key, (16, 16)) * 0.5 for key in KEYS[:2]]
# a constant column: its moments need care; and rows that leave relus dead on some
# devices, but not on all
BATCH = jax.random.normal(KEYS[2], (32, 16)).at[:, 3].set(5.0)
Pair = tuple[Any, Any]


def on(mesh: Any, *spec: Any) -> NamedSharding:
    return NamedSharding(mesh, P(*spec))


def loss(weights: Any, x: Any) -> Any:
    for number, w in enumerate(weights):
        x = (jax.nn.relu if number else jnp.tanh)(x @ w)
    return jnp.mean(x**2)


def descend(weights: Any, gradients: Any) -> Any:
    return jax.tree.map(lambda w, g: w - 0.1 * g, weights, gradients)


def step(weights: Any, x: Any) -> Pair:
    value, gradients = jax.value_and_grad(loss)(weights, x)
    return descend(weights, gradients), value


def mean(tree: Any) -> Any:
    return jax.lax.pmean(tree, "d")


def data_parallel(
    *, checked: bool, inner: Callable[..., Any] = loss, averaged: bool = True
) -> Any:
    """The gradient is taken inside of the `shard_map`."""

    def own(weights: Any, x: Any) -> Pair:
        if checked:
            fun = jax.value_and_grad(lambda w, x: mean(inner(w, x)))
            value, gradients = fun(weights, x)
        else:
            value, gradients = jax.value_and_grad(inner)(weights, x)
            if averaged:
                value, gradients = mean((value, gradients))
        return descend(weights, gradients), value

    return mapped(own, checked=checked)


def mapped(fun: Any, *, checked: bool, weights: Any = WHOLE, data: Any = SPLIT) -> Any:
    return jax.shard_map(
        fun,
        mesh=LINE,
        in_specs=(weights, data),
        out_specs=(weights, P()),
        check_vma=checked,
    )


def local_sum(weights: Any, x: Any) -> Pair:
    """JAX sums the gradients of the devices' own losses here, by itself."""
    value, gradients = jax.value_and_grad(loss)(weights, x)
    return descend(weights, jax.tree.map(lambda g: g / 8, gradients)), mean(value)


def loss_in_shards(*, checked: bool) -> Any:
    """The `shard_map` stands in the differentiated loss."""

    def whole(weights: Any, x: Any) -> Any:
        return jax.shard_map(
            lambda w, x: mean(loss(w, x)),
            mesh=LINE,
            in_specs=(P(), P("d")),
            out_specs=P(),
            check_vma=checked,
        )(weights, x)

    def own(weights: Any, x: Any) -> Pair:
        value, gradients = jax.value_and_grad(whole)(weights, x)
        return descend(weights, gradients), value

    return own


def gathered_weights(*, checked: bool) -> Any:
    """Each device has a part of the weights, and gathers them for its loss."""

    def own(weights: Any, x: Any) -> Pair:
        def inner(weights: Any, x: Any) -> Any:
            full = [jax.lax.all_gather(w, "d", tiled=True) for w in weights]
            return mean(loss(full, x)) if checked else loss(full, x)

        value, gradients = jax.value_and_grad(inner)(weights, x)
        if not checked:
            value, gradients = mean(value), jax.tree.map(lambda g: g / 8, gradients)
        return descend(weights, gradients), value

    return mapped(own, checked=checked, weights=P("d"))


def tensor_parallel(weights: Any, x: Any) -> Pair:
    def inner(weights: Any, x: Any) -> Any:
        x = jnp.tanh(x @ weights[0])
        x = jax.nn.relu(jax.lax.psum(x @ weights[1], "m"))
        return mean(jnp.mean(x**2))

    def own(weights: Any, x: Any) -> Pair:
        value, gradients = jax.value_and_grad(inner)(weights, x)
        return descend(weights, gradients), value

    specs = [P(None, "m"), P("m", None)]
    return jax.shard_map(
        own, mesh=PLANE, in_specs=(specs, P("d")), out_specs=(specs, P())
    )(weights, x)


def several(fun: Any) -> Any:
    return lambda weights, data: jax.lax.scan(fun, weights, data)


def averaged_step(weights: Any, x: Any) -> Pair:
    value, gradients = mean(jax.value_and_grad(loss)(weights, x))
    return descend(weights, gradients), value


def stacked_loss(weights: Any, x: Any) -> Any:
    x, _ = jax.lax.scan(lambda x, w: (jax.nn.gelu(x @ w), None), x, weights)
    return jnp.mean(x**2)


def stacked_step(weights: Any, x: Any) -> Pair:
    value, gradients = jax.value_and_grad(stacked_loss)(weights, x)
    return descend(weights, gradients), value


def copies(*, averaged: bool) -> Any:
    def own(weights: Any, x: Any) -> Pair:
        value, gradients = jax.value_and_grad(loss)(weights, x)
        if averaged:
            gradients = mean(gradients)
        return descend(weights, gradients), mean(value)

    return jax.pmap(own, axis_name="d")


def read(fun: Any, *args: Any) -> tuple[Any, Readings]:
    output, readings = jax.jit(nndiag.watch(fun))(*args)
    reduced = reduce_readings(jax.device_get(readings))
    assert reduced is not None
    return output, reduced


def differences(fun: Any, args: Any, expected: Readings) -> list[str]:
    """What is not as on one device; what is not as bare, bit by bit."""
    bare = jax.jit(fun)(*args)
    output, readings = read(fun, *args)
    found: list[str] = []
    for a, b in zip(jax.tree.leaves(bare), jax.tree.leaves(output), strict=True):
        if np.asarray(a).tobytes() != np.asarray(b).tobytes():
            found.append("the bits of the output")
    if not np.isclose(readings.loss, expected.loss, rtol=1e-5):
        found.append(f"loss {readings.loss} for {expected.loss}")
    for role in ("value", "cotangent", "parameter", "gradient", "update"):
        ours, theirs = getattr(readings, role), getattr(expected, role)
        if ours.keys() != theirs.keys():
            found.append(f"places of {role}: {sorted(set(ours) ^ set(theirs))}")
        for site in ours.keys() & theirs.keys():
            for name in QUANTITIES:
                a, b = getattr(ours[site], name), getattr(theirs[site], name)
                if name == "spread" or (a is None and b is None):
                    continue
                if a is None or b is None or not np.isclose(a, b, 1e-4, 1e-6):
                    found.append(f"{role} {site} {name}: {a} for {b}")
    return found


def traffic(fun: Any, *args: Any) -> Counter[int]:
    """Sizes of what the compiled program sends between devices, in elements."""
    text = jax.jit(fun).lower(*args).compile().as_text()
    sent: Counter[int] = Counter()
    collective = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"
    for shapes in re.findall(rf"= (.*?) (?:{collective})(?:-start)?\(", text):
        for shape in re.findall(r"\[([\d,]*)\]", shapes):
            sent[int(np.prod([int(n) for n in shape.split(",") if n]))] += 1
    return sent


def spreads(fun: Any, *args: Any) -> dict[str, list[float | None]]:
    _, readings = read(fun, *args)
    return {
        role: [stats.spread for stats in getattr(readings, role).values()]
        for role in ("parameter", "gradient", "update")
    }


def main() -> None:
    warnings.simplefilter("error")
    one = WEIGHTS, BATCH
    _, base = read(step, *one)
    stack = jnp.stack(WEIGHTS)
    _, layered = read(stacked_step, stack, BATCH)
    batches = jnp.stack([BATCH, BATCH + 1])
    _, two = read(several(step), WEIGHTS, batches)
    replicas = [jnp.stack([w] * 8) for w in WEIGHTS], BATCH.reshape(8, 4, 16)
    split = jax.device_put(WEIGHTS, on(LINE)), jax.device_put(BATCH, on(LINE, "d"))
    columns = [on(LINE, None, "d"), on(LINE, "d")]
    tensors = [jax.device_put(w, s) for w, s in zip(WEIGHTS, columns, strict=True)]
    inner = jax.jit(
        step,
        in_shardings=(on(LINE), on(LINE, "d")),
        out_shardings=(on(LINE), on(LINE)),
        donate_argnums=0,
    )

    def constrained(weights: Any, x: Any) -> Pair:
        return inner(weights, jax.lax.with_sharding_constraint(x, on(LINE, "d")))

    cases: dict[str, tuple[Any, Any, Readings]] = {
        "batch split": (step, split, base),
        "weights split": (step, (tensors, BATCH), base),
        "inner jit": (constrained, one, base),
        "checked": (data_parallel(checked=True), one, base),
        "unchecked": (data_parallel(checked=False), one, base),
        "summed by JAX": (mapped(local_sum, checked=True), one, base),
        "loss, checked": (loss_in_shards(checked=True), one, base),
        "loss, unchecked": (loss_in_shards(checked=False), one, base),
        "gathered, checked": (gathered_weights(checked=True), one, base),
        "gathered, unchecked": (gathered_weights(checked=False), one, base),
        "tensor parallel": (tensor_parallel, one, base),
        "jit inside": (data_parallel(checked=False, inner=jax.jit(loss)), one, base),
        "checkpoint": (
            data_parallel(checked=False, inner=jax.checkpoint(loss)),
            one,
            base,
        ),
        "layers": (
            data_parallel(checked=True, inner=stacked_loss),
            (stack, BATCH),
            layered,
        ),
        "scan of steps": (
            mapped(several(averaged_step), checked=False, data=P(None, "d")),
            (WEIGHTS, batches),
            two,
        ),
        "pmap": (copies(averaged=True), replicas, base),
    }
    result: dict[str, Any] = {}
    for name, case in cases.items():
        result[name] = differences(*case)
    explicit = jax.make_mesh((8,), ("d",), axis_types=(AxisType.Explicit,))
    typed = (
        jax.device_put(WEIGHTS, on(explicit)),
        jax.device_put(BATCH, on(explicit, "d")),
    )
    result["explicit"] = differences(step, typed, base)
    with jax.set_mesh(explicit):
        result["explicit, set_mesh"] = differences(step, typed, base)
    apart = data_parallel(checked=False, averaged=False)
    result["spreads"] = {
        "averaged": spreads(data_parallel(checked=False), *one),
        "forgotten": spreads(apart, *one),
        "copies": spreads(copies(averaged=True), *replicas),
        "copies forgotten": spreads(copies(averaged=False), *replicas),
        "device by device": [
            float(np.linalg.norm(0.1 * jax.grad(loss)(WEIGHTS, rows)[0]))
            for rows in jnp.split(BATCH, 8)
        ],
    }
    wide = [jnp.tile(w, (8, 8)) / 8 for w in WEIGHTS], jnp.tile(BATCH, (8, 8))
    placed = {
        "batch": (
            jax.device_put(wide[0], on(LINE)),
            jax.device_put(wide[1], on(LINE, "d")),
        ),
        "weights": (
            [jax.device_put(w, s) for w, s in zip(wide[0], columns, strict=True)],
            wide[1],
        ),
    }
    result["traffic"] = {
        name: max(traffic(nndiag.watch(step), *args) - traffic(step, *args), default=0)
        for name, args in placed.items()
    }
    fun = nndiag.watch(data_parallel(checked=False))
    result["traffic"]["shard_map"] = max(
        traffic(fun, *wide) - traffic(data_parallel(checked=False), *wide), default=0
    )
    lowered = jax.jit(nndiag.watch(lambda w, x: inner(w, x))).lower(*one).as_text()
    result["inner sharding"] = "sharding" in lowered
    kept = jax.tree.map(jnp.copy, WEIGHTS)
    nndiag.watch(inner)(kept, BATCH)
    result["kept"] = not any(w.is_deleted() for w in kept)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
