"""Replays a program equation by equation, in search of the first NaN or Inf.

Names are imported when they are asked for: a run that stays finite replays nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nndiag.replay.examination import autopsy as autopsy
    from nndiag.replay.guarding import Guard as Guard
    from nndiag.replay.guarding import Guarded as Guarded
    from nndiag.replay.guarding import finite_leaves as finite_leaves
    from nndiag.replay.guarding import guard as guard
    from nndiag.replay.judging import LookFor as LookFor

_HOMES = {
    "Guard": "guarding",
    "Guarded": "guarding",
    "LookFor": "judging",
    "autopsy": "examination",
    "finite_leaves": "guarding",
    "guard": "guarding",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nndiag.replay' has no attribute {name!r}")
    return getattr(import_module(f"nndiag.replay.{_HOMES[name]}"), name)
