"""The only place that knows JAX's versions and private names.

Tested on JAX 0.10 (the last for Python 3.11) and 0.12. Every name of `jax._src` and
`jax.interpreters` that nndiag needs is used in this package and nowhere else.
"""

from nndiag.jaxprs.compat.debugging import debug_nans_is_dead as debug_nans_is_dead
from nndiag.jaxprs.compat.debugging import debug_nans_is_on as debug_nans_is_on
from nndiag.jaxprs.compat.debugging import plain_evaluation as plain_evaluation
from nndiag.jaxprs.compat.debugging import revive_debug_nans as revive_debug_nans
from nndiag.jaxprs.compat.effects import silence as silence
from nndiag.jaxprs.compat.equations import Equation as Equation
from nndiag.jaxprs.compat.equations import Jaxpr as Jaxpr
from nndiag.jaxprs.compat.equations import bind as bind
from nndiag.jaxprs.compat.equations import constants as constants
from nndiag.jaxprs.compat.equations import is_jaxpr as is_jaxpr
from nndiag.jaxprs.compat.equations import is_literal as is_literal
from nndiag.jaxprs.compat.equations import jaxprs_in as jaxprs_in
from nndiag.jaxprs.compat.equations import jit_options as jit_options
from nndiag.jaxprs.compat.equations import like as like
from nndiag.jaxprs.compat.equations import literal as literal
from nndiag.jaxprs.compat.equations import open_jaxpr as open_jaxpr
from nndiag.jaxprs.compat.equations import retrace as retrace
from nndiag.jaxprs.compat.equations import scan_split as scan_split
from nndiag.jaxprs.compat.equations import source as source
from nndiag.jaxprs.compat.equations import strong as strong
from nndiag.jaxprs.compat.equations import trace as trace
from nndiag.jaxprs.compat.interception import (
    intercepted_gradients as intercepted_gradients,
)
from nndiag.jaxprs.compat.interception import is_tracing as is_tracing
from nndiag.jaxprs.compat.interception import is_watching as is_watching
from nndiag.jaxprs.compat.interception import (
    witnessed_gradients as witnessed_gradients,
)
from nndiag.jaxprs.compat.origins import is_jax_function as is_jax_function
from nndiag.jaxprs.compat.origins import lines_of_rules as lines_of_rules
from nndiag.jaxprs.compat.origins import user_frames as user_frames
from nndiag.jaxprs.compat.origins import user_position as user_position
from nndiag.jaxprs.compat.primitives import define_identity as define_identity
from nndiag.jaxprs.compat.primitives import is_zero as is_zero
from nndiag.jaxprs.compat.processes import is_alone as is_alone
from nndiag.jaxprs.compat.processes import is_first_process as is_first_process
from nndiag.jaxprs.compat.shards import Manual as Manual
from nndiag.jaxprs.compat.shards import gathered as gathered
from nndiag.jaxprs.compat.shards import is_far as is_far
from nndiag.jaxprs.compat.shards import is_split as is_split
from nndiag.jaxprs.compat.shards import manual as manual
from nndiag.jaxprs.compat.shards import remap as remap
from nndiag.jaxprs.compat.shards import replicate as replicate
from nndiag.jaxprs.compat.shards import retrace_shards as retrace_shards
from nndiag.jaxprs.compat.shards import varying_axes as varying_axes
