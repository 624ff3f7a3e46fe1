"""Sharded programs, on eight devices that a process of its own pretends to have."""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from nndiag.replay import autopsy

devices = np.array(jax.devices())
plane = Mesh(devices.reshape(4, 2), ("x", "y"))
line = jax.make_mesh((8,), ("d",))
told = {}


def tell(name, fn, *args):
    found = autopsy(fn, *args)
    told[name] = found and [
        found.kind, found.primitive, list(found.path),
        [list(e) for e in found.elements], found.direction, found.source,
    ]


def over_plane(body, specs, out):
    return jax.shard_map(body, mesh=plane, in_specs=specs, out_specs=out)


def mixed(a, b):
    total = jax.lax.psum(a.sum(), "x")
    mean = jax.lax.pmean(jnp.log(a), ("x", "y"))  # mixed
    return a * total + b, mean


fn = jax.jit(over_plane(mixed, (P("x", "y"), P()), (P("x", "y"), P())))
a = np.ones((8, 4), np.float32)
tell("healthy", fn, a, 1.0)
a[5, 3] = -1  # rows 4 and 5 are in the third row of shards: shard 2 * 2 + 1
tell("shard_map", fn, a, 1.0)


def rooted(a):
    return jnp.sqrt(a)  # rooted


a = np.ones((8, 4), np.float32)
a[7, 0] = 0
loss = over_plane(rooted, P("x", "y"), P("x", "y"))
# The factor 0.5 / sqrt(a) is computed in the forward sweep.
tell("derivative", jax.grad(lambda a: loss(a).sum()), a)

pmapped = jax.pmap(lambda a: jnp.log(a + jax.lax.axis_index("i") - 5), axis_name="i")
tell("pmap", pmapped, np.full((8, 3), -0.5, np.float32) + np.arange(8)[:, None] % 2)


def scanned(a):
    def step(c, t):
        return c * 2 - t, jnp.log(3 - c)  # scanned

    return jax.lax.scan(step, a, jnp.arange(4.0))[1]


split = P(("y", "x"))
a = np.zeros(8, np.float32)
a[6] = 1.9  # y = 1, x = 2: shard 2 * 2 + 1 in the mesh's own order
tell("scan", over_plane(scanned, split, P(None, ("y", "x"))), a)


def forked(a):
    turn = jax.lax.axis_index("d") == 3
    return jax.lax.cond(turn, lambda x: jnp.log(x), lambda x: x, a)  # forked


on_line = jax.shard_map(forked, mesh=line, in_specs=P("d"), out_specs=P("d"))
tell("cond", on_line, jax.device_put(-jnp.ones(8), NamedSharding(line, P("d"))))


def passed_on(a):
    left = jax.lax.ppermute(a, "d", [(i, (i + 1) % 8) for i in range(8)])
    return 1 / (left - 2)  # passed on


moved = jax.shard_map(passed_on, mesh=line, in_specs=P("d"), out_specs=P("d"))
tell("ppermute", moved, jax.device_put(jnp.arange(8.0), NamedSharding(line, P("d"))))


def exchanging(a):
    def step(c, t):
        return c + jax.lax.psum(a, "d").sum(), jnp.sqrt(20 - c)  # exchanging

    return jax.lax.scan(step, a, jnp.arange(6.0))[1]


both = jax.shard_map(
    exchanging, mesh=line, in_specs=P("d"), out_specs=P(None, "d"), check_vma=False
)
a = np.zeros(8, np.float32)
a[4] = 6  # c is 6, 12, 18, 24 in shard 4: the root fails in iteration 3
tell("exchange", both, jax.device_put(a, NamedSharding(line, P("d"))))
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told():
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_healthy_shards_give_none(told):
    assert told["healthy"] is None


@pytest.mark.parametrize(
    ("name", "kind", "primitive", "path", "element", "direction"),
    [
        ("shard_map", "nan", "log", ["shard[5]"], [1, 1], "forward"),
        ("derivative", "inf", "div", ["shard[6]"], [1, 0], "forward"),
        ("pmap", "nan", "log", ["shard[0]"], [0], "forward"),
        ("scan", "nan", "log", ["shard[5]", "scan[1]"], [0], "forward"),
        ("cond", "nan", "log", ["shard[3]", "cond.branch1"], [0], "forward"),
        ("ppermute", "inf", "div", ["shard[3]"], [0], "forward"),
        ("exchange", "nan", "sqrt", ["shard[4]", "scan[3]"], [0], "forward"),
    ],
)
def test_the_shard_is_named(told, name, kind, primitive, path, element, direction):
    assert told[name][:3] == [kind, primitive, path]
    assert told[name][3][0] == element
    assert told[name][4] == direction
