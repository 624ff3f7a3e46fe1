"""What only the compiler gets wrong, and what varies from run to run."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nndiag.errors import ProgramError
from nndiag.replay import autopsy


def test_a_rewrite_of_the_compiler_is_named():
    def fn(a, b, c):
        a = jnp.sin(a) * 0 + a
        ratio = a / b
        return jnp.cos(ratio / c)  # joined: XLA makes a / (b * c) of it

    tiny = np.float32(1e-30)
    # The oracle: the compiled function is bad, and the same operations one by one
    # are not.
    with np.errstate(all="ignore"):
        assert not np.isfinite(jax.jit(fn)(tiny, tiny, tiny))
    with jax.disable_jit():
        assert np.isfinite(fn(tiny, tiny, tiny))
    found = autopsy(fn, tiny, tiny, tiny)
    assert found is not None and found.compiler
    assert (found.kind, found.primitive) == ("inf", "div")
    source = Path(__file__).read_text(encoding="utf-8").splitlines()
    assert "# joined" in source[found.line - 1]
    assert "compiler" in found.cause and found.reaches_output


def test_a_program_that_answers_differently_each_time_is_refused():
    generator = np.random.default_rng(0)
    shape = jax.ShapeDtypeStruct((), jnp.float32)

    def fn(x):
        return x + jax.pure_callback(lambda: np.float32(generator.normal()), shape)

    with pytest.raises(ProgramError, match="not deterministic"):
        autopsy(fn, 1.0)


def test_a_half_precision_birth_that_the_compiler_widens_gives_way_to_a_real_one():
    def fn(x, y):
        scaled = x * jnp.float16(2**15) / jnp.float16(2**15)
        return scaled.astype(jnp.float32), y * jnp.float16(4)

    x = jnp.full(2, 20, jnp.float16)
    for y in (jnp.float16(3e4), jnp.float16(1)):
        # The oracle: whether a compiler widens is its own affair.
        bad = [not np.isfinite(out).all() for out in jax.jit(fn)(x, y)]
        found = autopsy(fn, x, y)
        assert found is not None and found.reaches_output
        assert found.output == f"[{bad.index(True) if any(bad) else 0}]"
        assert any("compiled program is finite" in n for n in found.notes) is (
            not any(bad)
        )
