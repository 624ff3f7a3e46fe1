"""A scale that reached 0 is mended on the line that makes it, for all of its uses."""

import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nndiag.replay import autopsy

LIKELIHOOD = """
import jax
import jax.numpy as jnp

def loss(w, x, y):
    raw = w * x
    scale = {scale}  # scale
    error = (y - x) / scale
    return jnp.mean(0.5 * error**2 + jnp.log(scale))
"""

SCALES = [
    ("jax.nn.relu(raw)", -1.0, "relu"),
    ("jnp.maximum(raw, 0.0)", -1.0, "maximum"),
    ("jax.nn.softplus(raw)", -150.0, "softplus"),
    ("jnp.log1p(jnp.exp(raw))", -150.0, "log1p"),
    ("jnp.log(1.0 + jnp.exp(raw))", -150.0, "log"),
    ("jnp.exp(raw)", -150.0, "exp"),
    ("jax.nn.sigmoid(raw)", -150.0, "sigmoid"),
    ("jnp.abs(raw)", 0.0, "abs"),
    ("jnp.square(raw)", 0.0, "square"),
    ("raw**2", 0.0, "** 2"),
    ("2.0 * jnp.exp(raw)[:].astype(jnp.float32)", -150.0, ""),
    ("jnp.exp(raw).astype(jnp.float32)", -150.0, "exp"),
]


@pytest.mark.parametrize("exact", [True, False], ids=["0 / 0", "1 / 0"])
@pytest.mark.parametrize(("scale", "w", "name"), SCALES, ids=[s[0] for s in SCALES])
def test_a_scale_that_reached_0_is_mended_where_it_is_made(
    tmp_path: Path, scale: str, w: float, name: str, exact: bool
) -> None:
    file = tmp_path / "gauss.py"
    file.write_text(LIKELIHOOD.format(scale=scale))
    loss = runpy.run_path(str(file))["loss"]
    x = jnp.ones(3)
    arguments = (jnp.float32(w), x, x + (0.0 if exact else 0.5))
    assert not np.isfinite(loss(*arguments))
    found = autopsy(jax.value_and_grad(loss), *arguments)
    assert found is not None
    if not name:
        assert "because" not in found.cause
        return
    lines = file.read_text().splitlines()
    line = next(i for i, text in enumerate(lines, 1) if "# scale" in text)
    assert f"the divisor is 0 because {name} at gauss.py:{line} returned 0" in (
        found.cause
    )
    place, code = found.rewrite.split("\n")
    assert place == f"# line {line} of gauss.py"
    lines[line - 1] = f"    {code}"
    file.write_text("\n".join(lines))
    mended = runpy.run_path(str(file))["loss"]
    value, slope = jax.value_and_grad(mended)(*arguments)
    assert np.isfinite(value) and np.isfinite(slope)
    larger = (jnp.float32(2.0), *arguments[1:])
    assert mended(*larger) == pytest.approx(float(loss(*larger)), abs=2e-3)


def test_log_of_a_scale_that_reached_0_is_mended_where_it_is_made(
    tmp_path: Path,
) -> None:
    file = tmp_path / "scale.py"
    head = "import jax\nimport jax.numpy as jnp\n\ndef f(x):\n"
    file.write_text(f"{head}    s = jax.nn.relu(x)\n    return jnp.log(s)\n")
    found = autopsy(runpy.run_path(str(file))["f"], jnp.array([2.0, -1.0]))
    assert found is not None
    assert found.cause.endswith(
        "its argument is 0 because relu at scale.py:5 returned 0."
    )
    assert found.rewrite == "# line 5 of scale.py\ns = jax.nn.relu(x) + 0.001"
