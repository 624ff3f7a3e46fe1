"""nndiag: a debugger for neural-network training in JAX.

::

    watched = jax.jit(nndiag.watch(train_step))
    with nndiag.record("reports/run-1", every=10) as run:
        for step, batch in enumerate(batches):
            (state, metrics), readings = watched(state, batch)
            run.log(step, readings, metrics)
    for finding in run.diagnose():
        print(finding)

Names are loaded when first used, so that reading a stored run needs no JAX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nndiag.notebook import Shown

if TYPE_CHECKING:
    from nndiag.gradcheck import check_grads as check_grads
    from nndiag.probes import tap as tap
    from nndiag.probes import value_and_grad as value_and_grad
    from nndiag.probes import watch as watch
    from nndiag.replay import Guarded as Guarded
    from nndiag.replay import autopsy as autopsy
    from nndiag.replay import guard as guard
    from nndiag.rules import explain as explain
    from nndiag.session import record as record
    from nndiag.session import target as target
    from nndiag.store import read as load

__all__ = [
    "Guarded",
    "autopsy",
    "check_grads",
    "explain",
    "guard",
    "load",
    "record",
    "tap",
    "target",
    "value_and_grad",
    "watch",
]

_HOMES = {
    "Guarded": ("nndiag.replay", "Guarded"),
    "autopsy": ("nndiag.replay", "autopsy"),
    "guard": ("nndiag.replay", "guard"),
    "check_grads": ("nndiag.gradcheck", "check_grads"),
    "explain": ("nndiag.rules", "explain"),
    "load": ("nndiag.store", "read"),
    "record": ("nndiag.session", "record"),
    "tap": ("nndiag.probes", "tap"),
    "target": ("nndiag.session", "target"),
    "value_and_grad": ("nndiag.probes", "value_and_grad"),
    "watch": ("nndiag.probes", "watch"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nndiag' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)


def _draw(value: Any) -> str:
    """A run or a finding as HTML, by the room that nobody below may know of."""
    return importlib.import_module("nndiag.render").fragment(value)


Shown.artist = _draw
