"""What to measure in a program, and how to get it out."""

# Gradients are seen below `jax.value_and_grad`, so this is JAX's own: it reports inside
# a `watch`, costs nothing outside, and so does every copy of it made earlier.
from jax import value_and_grad as value_and_grad

from nndiag.probes.level import Level as Level
from nndiag.probes.level import level_of as level_of
from nndiag.probes.packing import PackedReadings as PackedReadings
from nndiag.probes.watching import tap as tap
from nndiag.probes.watching import watch as watch
