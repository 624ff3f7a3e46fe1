"""What a `shard_map` equation says, and where arrays lie."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from nndiag.jaxprs.compat.equations import Equation, Jaxpr


class Manual(NamedTuple):
    """What a `shard_map` equation says.

    Attributes:
        body: from the shards of the inputs to the shards of the outputs.
        names: of the mesh axes that the body is mapped over.
        sizes: of these axes.
        inputs: for each input, for each of its dimensions, the axes it is split over.
        outputs: the same of the outputs.
    """

    body: Jaxpr
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    inputs: list[list[tuple[str, ...]]]
    outputs: list[list[tuple[str, ...]]]


def manual(equation: Equation) -> Manual:
    """Reads a `shard_map` equation."""
    params = equation.params
    shape = params["mesh"].shape
    axes = params.get("newly_manual_axes", params.get("manual_axes", shape))
    names = tuple(name for name in shape if name in axes)

    def split(spec: Any, atom: Any) -> list[tuple[str, ...]]:
        parts = [*spec, *(None for _ in atom.aval.shape)][: len(atom.aval.shape)]
        return [
            () if part is None else (part,) if isinstance(part, str) else tuple(part)
            for part in parts
        ]

    return Manual(
        params["jaxpr"],
        names,
        tuple(shape[name] for name in names),
        [split(s, a) for s, a in zip(params["in_specs"], equation.invars, strict=True)],
        [
            split(s, a)
            for s, a in zip(params["out_specs"], equation.outvars, strict=True)
        ],
    )


def is_far(array: jax.Array) -> bool:
    """Whether NumPy could see the elements of `array` only by copying them."""
    return any(device.platform != "cpu" for device in array.devices())
