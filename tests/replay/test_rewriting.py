"""The rewritten line runs, is finite where the old one was not, and else the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nndiag.replay.causes import changes, patterns
from nndiag.replay.rewriting import Change, rewrite

HEAD = "import jax\nimport jax.numpy as jnp\n\n\n"


def rewritten(
    folder: Path, body: str, at: str, change: Change, *, around: bool = False
) -> str:
    """Rewrites the expression `at` in the first line of a function that holds it."""
    file = folder / f"program_{abs(hash(body))}.py"
    file.write_text(f"{HEAD}def f(x, y=1.0):\n{body}\n", encoding="utf-8")
    lines = file.read_text(encoding="utf-8").splitlines()
    line = next(i for i, text in enumerate(lines) if at in text and i > 3)
    column = len(lines[line][: lines[line].index(at)].encode()) + 1
    return rewrite(str(file), line + 1, column, change, around=around)


def function(body: str) -> Callable[..., Any]:
    space: dict[str, Any] = {"jax": jax, "jnp": jnp}
    indented = body.replace("\n", "\n    ")
    exec(f"def f(x, y=1.0):\n    {indented}\n", space)
    return space["f"]


CASES: list[tuple[str, str, Change, bool, list[float], list[float], str]] = [
    (
        "return jnp.where(x > 0, jnp.sqrt(x), 0.0)",
        "jnp.sqrt",
        changes.double_where(("sqrt",), "1.0"),
        False,
        [0.0, 4.0],
        [1.0, 4.0],
        "return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0)",
    ),
    (
        "return jnp.where(x == 0, 0.0, 1 / x)",
        "1 / x",
        changes.double_where(("/",), "1.0"),
        False,
        [0.0, 4.0],
        [1.0, 4.0],
        "return jnp.where(x == 0, 0.0, 1 / jnp.where(x == 0, 1.0, x))",
    ),
    (
        "return jnp.log(jax.nn.softmax(x))",
        "jnp.log",
        patterns.log_softmax,
        True,
        [0.0, 200.0],
        [1.0, 2.0],
        "return jax.nn.log_softmax(x)",
    ),
    (
        "return jnp.log(jnp.exp(x) / jnp.sum(jnp.exp(x), axis=0))",
        "jnp.exp",
        patterns.log_softmax,
        True,
        [0.0, 200.0],
        [1.0, 2.0],
        "return jax.nn.log_softmax(x, axis=0)",
    ),
    (
        "return jnp.exp(x) / jnp.exp(x).sum(axis=-1, keepdims=True)",
        "jnp.exp(x).sum",
        patterns.softmax,
        True,
        [0.0, 200.0],
        [1.0, 2.0],
        "return jax.nn.softmax(x, axis=-1)",
    ),
    (
        "return 3 * jnp.log(jnp.exp(x).sum(axis=0)) + 1",
        "jnp.exp",
        patterns.logsumexp,
        True,
        [0.0, 200.0],
        [1.0, 2.0],
        "return 3 * jax.nn.logsumexp(x, axis=0) + 1",
    ),
    (
        "return 1 / (1 + jnp.exp(-x))",
        "jnp.exp",
        patterns.sigmoid,
        True,
        [-200.0, 1.0],
        [-2.0, 1.0],
        "return jax.nn.sigmoid(x)",
    ),
    (
        "return jnp.log1p(jnp.exp(x))",
        "jnp.exp",
        patterns.softplus,
        True,
        [200.0, 1.0],
        [-2.0, 1.0],
        "return jax.nn.softplus(x)",
    ),
    (
        "return (jnp.exp(x) - jnp.exp(-x)) / (jnp.exp(x) + jnp.exp(-x))",
        "jnp.exp",
        patterns.tanh,
        True,
        [200.0, 1.0],
        [-2.0, 1.0],
        "return jnp.tanh(x)",
    ),
    (
        "return jnp.linalg.norm(x, axis=0)",
        "jnp.linalg",
        changes.safe_root("1e-37"),
        False,
        [0.0, 0.0],
        [3.0, 4.0],
        "return jnp.sqrt(jnp.maximum(jnp.sum(x ** 2, axis=0), 1e-37))",
    ),
    (
        "return x / (x * x).sum()",
        "x / ",
        changes.safe_divisor,
        False,
        [0.0, 0.0],
        [3.0, 4.0],
        "return x / jnp.where((x * x).sum() == 0, 1.0, (x * x).sum())",
    ),
    (
        "return jnp.arccos(x)",
        "jnp.arccos",
        changes.bounded(("arccos",), "-0.999999", "0.999999"),
        False,
        [1.0, -1.0],
        [0.5, 0.25],
        "return jnp.arccos(jnp.clip(x, -0.999999, 0.999999))",
    ),
    (
        "return x**0.5",
        "x**",
        changes.safe_root("1e-37"),
        False,
        [0.0, 4.0],
        [9.0, 4.0],
        "return jnp.maximum(x, 1e-37) ** 0.5",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[6])
def test_the_rewrite_is_finite_and_else_the_same(case: Any, tmp_path: Path) -> None:
    old, at, change, around, bad, good, expected = case
    new = rewritten(tmp_path, f"    {old}", at, change, around=around)
    assert new == expected
    before, after = function(old), function(new)
    ill, well = jnp.array(bad), jnp.array(good)

    def slopes(f: Callable[..., Any], x: Any) -> Any:
        return jax.value_and_grad(lambda x: f(x).sum())(x)

    assert not all(np.isfinite(part).all() for part in slopes(before, ill))
    assert all(np.isfinite(part).all() for part in slopes(after, ill))
    for one, other in zip(slopes(before, well), slopes(after, well), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-6, atol=1e-6)


def test_zero_times_a_logarithm_of_zero_is_zero(tmp_path: Path) -> None:
    old = "return -(y * jnp.log(x)).sum()"
    new = rewritten(tmp_path, f"    {old}", "y * ", patterns.xlogy, around=True)
    assert new == "return -(jax.scipy.special.xlogy(y, x)).sum()"
    labels, p = jnp.array([0.0, 1.0]), jnp.array([0.0, 1.0])
    assert np.isnan(function(old)(p, labels))
    assert function(new)(p, labels) == 0
    p = jnp.array([0.25, 0.75])
    np.testing.assert_allclose(function(old)(p, labels), function(new)(p, labels))


def test_a_statement_over_several_lines_is_kept_whole(tmp_path: Path) -> None:
    body = (
        "    return jnp.where(\n        x > 0,\n"
        "        jnp.log(x),  # why\n        0.0,\n    )"
    )
    change = changes.double_where(("log",), "1.0")
    new = rewritten(tmp_path, body, "jnp.log", change)
    assert "\n    jnp.log(jnp.where(x > 0, x, 1.0)),  # why\n" in new
    assert np.isfinite(function(new)(jnp.array([0.0, 2.0]))).all()


def test_columns_count_bytes_as_tracebacks_do(tmp_path: Path) -> None:
    body = '    names = {"größe": jnp.sqrt(x)}; return names["größe"]'
    new = rewritten(tmp_path, body, "jnp.sqrt", changes.safe_root("1e-37"))
    assert new == 'names = {"größe": jnp.sqrt(jnp.maximum(x, 1e-37))}'


def test_the_file_s_own_names_for_modules_are_used(tmp_path: Path) -> None:
    file = tmp_path / "renamed.py"
    file.write_text(
        "from jax import nn, numpy as xp\n\ny = xp.log(nn.softmax(x))\nz = 1 / w\n",
        encoding="utf-8",
    )
    assert rewrite(str(file), 3, 5, patterns.log_softmax) == "y = nn.log_softmax(x)"
    divisor = rewrite(str(file), 4, 5, changes.safe_divisor)
    assert divisor == "z = 1 / xp.where(w == 0, 1.0, w)"


def test_what_is_ambiguous_or_unreadable_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "odd.py"
    file.write_text("y = a / b / c\nif True:\n    pass\n", encoding="utf-8")
    change = changes.safe_divisor
    assert rewrite(str(file), 1, 5, change) == ""
    assert rewrite(str(file), 2, 1, change) == ""
    assert rewrite(str(file), 99, 1, change) == ""
    assert rewrite(str(tmp_path / "absent.py"), 1, 1, change) == ""
    file.with_name("broken.py").write_text("def (:\n", encoding="utf-8")
    assert rewrite(str(tmp_path / "broken.py"), 1, 1, change) == ""


def test_a_sigmoid_of_something_else_is_not_rewritten(tmp_path: Path) -> None:
    body = "    return 1 / (2 + jnp.exp(-x))"
    assert rewritten(tmp_path, body, "jnp.exp", patterns.sigmoid, around=True) == ""
    body = "    return jnp.exp(x) / jnp.exp(y).sum()"
    assert rewritten(tmp_path, body, "jnp.exp", patterns.softmax, around=True) == ""


@pytest.mark.parametrize("line", ["from tools import *", "from tools import jnp"])
def test_a_module_is_never_taken_for_an_array(tmp_path: Path, line: str) -> None:
    file = tmp_path / f"star_{len(line)}.py"
    file.write_text(f"{line}\n\n\ndef f(z):\n    return jnp.sqrt(z)\n")
    change = changes.bounded(("sqrt",), "1e-37")
    expected = "return jnp.sqrt(jnp.maximum(z, 1e-37))"
    assert rewrite(str(file), 5, 12, change) == expected


def test_a_name_that_nobody_binds_is_no_array(tmp_path: Path) -> None:
    file = tmp_path / "unbound.py"
    lines = ["from tools import *", "def f(z):", "    return m.sqrt(z) + z.sqrt()"]
    file.write_text("\n".join(lines))
    change = changes.bounded(("sqrt",), "1e-37")
    assert rewrite(str(file), 3, 12, change).startswith("return m.sqrt(jnp.maximum(z,")
    assert "jnp.maximum(z, 1e-37).sqrt()" in rewrite(str(file), 3, 24, change)
