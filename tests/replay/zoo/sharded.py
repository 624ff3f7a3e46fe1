"""NaN on one of eight devices; needs ``XLA_FLAGS`` to simulate them."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from .case import sick

DEVICES = 8


def rows() -> np.ndarray:
    """Sixteen numbers, two a device; the second of device 5 is 0."""
    x = np.arange(1, 17, dtype=np.float32)
    x[11] = 0
    return x


@sick(rows(), kind="inf", primitive="log", path=("shard[5]",), element=(1,))
def sharded(x):
    def logs(x):
        return jnp.log(x)  # here

    mesh = Mesh(np.array(jax.devices()), ("i",))
    return jax.shard_map(logs, mesh=mesh, in_specs=P("i"), out_specs=P("i"))(x)


@sick(rows(), kind="inf", primitive="div", path=("shard[5]",), element=(1,))
def sharded_with_a_sum(x):
    def invert(x):
        y = 1 / x  # here
        return y + jax.lax.psum(x, "i")

    mesh = Mesh(np.array(jax.devices()), ("i",))
    mapped = jax.shard_map(invert, mesh=mesh, in_specs=P("i"), out_specs=P("i"))
    return jax.jit(mapped)(x)


@sick(
    rows().reshape(DEVICES, 2),
    kind="inf",
    primitive="log",
    path=("shard[5]",),
    element=(1,),
)
def mapped_over_devices(x):
    return jax.pmap(lambda row: jnp.log(row))(x)  # here
