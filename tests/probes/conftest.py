"""Compiling is most of what these tests would do."""

from collections.abc import Iterator

import jax
import pytest

collect_ignore = ["sharded_programs.py"]  # needs eight devices: run by test_sharding.py


@pytest.fixture(scope="module")
def unoptimised() -> Iterator[None]:
    """Programs as JAX wrote them: XLA leaves out what takes it long."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
