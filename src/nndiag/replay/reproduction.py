"""Writes a script and its data that repeat a failure without the user's code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from nndiag.errors import NndiagError
from nndiag.records import Autopsy
from nndiag.replay.compiled import run_jaxpr
from nndiag.replay.tracing import Program

_SCRIPT = '''\
"""Repeats a failing step; needs jax {version} or later, and numpy."""

import json
import pathlib
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

{setting}data = np.load(pathlib.Path(__file__).with_name("reproduce.npz"))
about = json.loads(bytes(data["about"]))
program = jax.export.deserialize(bytearray(data["program"]))
leaves = [
    np.frombuffer(data[f"leaf_{{i}}"].tobytes(), jnp.dtype(leaf["dtype"])).reshape(
        leaf["shape"]
    )
    for i, leaf in enumerate(about["leaves"])
]
print(about["what"])
print(about["where"])
print(about["cause"])
bad = 0
for name, value in zip(about["outputs"], program.call(*leaves)):
    value = np.asarray(value)
    if not jnp.issubdtype(value.dtype, np.inexact):
        continue
    nans, infs = int(np.isnan(value).sum()), int(np.isinf(value).sum())
    if nans or infs:
        bad += 1
        print(f"output{{name}}: {{nans}} NaN, {{infs}} Inf of {{value.size}} elements")
if not bad:
    print("every output is finite")
sys.exit(1 if bad else 0)
'''


def write(program: Program, found: Autopsy, directory: Path) -> Path:
    """Writes `reproduce.py` and `reproduce.npz` into `directory`.

    Raises:
        NndiagError: the program cannot be stored, as it calls back into Python.
    """
    leaves = [_plain(leaf) for leaf in program.leaves]

    def flat(*values: Any) -> list[Any]:
        restored = [
            jax.random.wrap_key_data(value, impl=jax.random.key_impl(leaf))
            if _is_key(leaf)
            else value
            for value, leaf in zip(values, program.leaves, strict=True)
        ]
        return [_plain(output) for output in run_jaxpr(program.jaxpr, restored)]

    try:
        stored = jax.export.export(jax.jit(flat))(*leaves).serialize()
    except Exception as error:
        text = (str(error).strip().splitlines() or [""])[0]
        raise NndiagError(
            "the program cannot be written to a file, as a part of it is bound to "
            f"this process: {type(error).__name__}: {text}"
        ) from None
    about = {
        "what": f"{found.kind} made by {found.primitive} ({found.direction})",
        "where": f"{found.file}:{found.line}: {found.source}" if found.file else "",
        "cause": found.cause,
        "outputs": program.outputs,
        "leaves": [
            {"dtype": str(leaf.dtype), "shape": list(leaf.shape)} for leaf in leaves
        ],
    }
    directory.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {
        f"leaf_{i}": np.frombuffer(np.asarray(leaf).tobytes(), np.uint8)
        for i, leaf in enumerate(leaves)
    }
    np.savez_compressed(
        directory / "reproduce.npz",
        program=np.frombuffer(stored, np.uint8),
        about=np.frombuffer(json.dumps(about).encode(), np.uint8),
        **arrays,
    )
    script = directory / "reproduce.py"
    wide = jnp.result_type(float) == np.float64
    setting = 'jax.config.update("jax_enable_x64", True)\n' if wide else ""
    script.write_text(
        _SCRIPT.format(version=jax.__version__, setting=setting), encoding="utf-8"
    )
    return script


def _is_key(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key))


def _plain(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf
