"""The script that repeats a failure without the user's code."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nndiag.errors import NndiagError
from nndiag.replay import autopsy


def run(script):
    return subprocess.run(
        [sys.executable, "-W", "error", script.name],
        cwd=script.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_script_shows_the_failing_outputs(tmp_path):
    def step(params, key, x, n):
        jax.debug.print("{}", x)
        scale = (params["w"] * 3).astype(jnp.float32) + params["f8"].astype(jnp.float32)
        noise = jax.random.normal(key, x.shape) * 0
        return {"loss": jnp.log(x * scale + noise), "fine": n + 1}

    params = {"w": jnp.array([1.0, 2.0], "bfloat16"), "f8": jnp.ones(2, "float8_e5m2")}
    args = params, jax.random.key(3), jnp.array([-1.0, 1.0]), jnp.arange(4)
    found = autopsy(step, *args)
    assert found is not None
    script = found.reproduce(tmp_path / "new" / "case")
    assert sorted(p.name for p in script.parent.iterdir()) == [
        "reproduce.npz",
        "reproduce.py",
    ]
    assert "nndiag" not in script.read_text(encoding="utf-8")
    done = run(script)
    assert (done.returncode, done.stderr) == (1, "")
    assert found.cause in done.stdout and f":{found.line}" in done.stdout
    assert "output['loss']: 1 NaN, 0 Inf of 2 elements" in done.stdout
    assert "output['fine']" not in done.stdout


def test_a_hidden_failure_ends_well(tmp_path):
    found = autopsy(lambda x: jnp.argmax(jnp.log(x)), jnp.array([-1.0, 1.0]))
    assert found is not None
    done = run(found.reproduce(tmp_path))
    assert done.returncode == 0 and "every output is finite" in done.stdout


def test_what_is_bound_to_the_process_is_said(tmp_path):
    shape = jax.ShapeDtypeStruct((), jnp.float32)
    found = autopsy(lambda x: jnp.log(jax.pure_callback(np.negative, shape, x)), 1.0)
    assert found is not None
    with pytest.raises(NndiagError, match="bound to this process"):
        found.reproduce(tmp_path)
