"""The hall: the one room that opens onto both wings.

Names are loaded when first used: to report a stored run needs no JAX.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nndiag.session.autopsying import Examined as Examined
    from nndiag.session.autopsying import examine_run as examine_run
    from nndiag.session.autopsying import examine_script as examine_script
    from nndiag.session.autopsying import examine_target as examine_target
    from nndiag.session.autopsying import open_debugger as open_debugger
    from nndiag.session.building import target as target
    from nndiag.session.checkpage import publish_gradcheck as publish_gradcheck
    from nndiag.session.checkpage import require_empty as require_empty
    from nndiag.session.gradchecking import CheckOptions as CheckOptions
    from nndiag.session.gradchecking import NonfinitePoint as NonfinitePoint
    from nndiag.session.gradchecking import check_gradients as check_gradients
    from nndiag.session.loading import holds_target as holds_target
    from nndiag.session.options import RunOptions as RunOptions
    from nndiag.session.publishing import Outcome as Outcome
    from nndiag.session.publishing import publish as publish
    from nndiag.session.recording import Recording as Recording
    from nndiag.session.recording import record as record
    from nndiag.session.running import run as run
    from nndiag.session.scripting import Script as Script
    from nndiag.session.scriptrun import ScriptOutcome as ScriptOutcome
    from nndiag.session.scriptrun import run_script as run_script

_HOMES = {
    "CheckOptions": "gradchecking",
    "Examined": "autopsying",
    "NonfinitePoint": "gradchecking",
    "Outcome": "publishing",
    "Recording": "recording",
    "RunOptions": "options",
    "Script": "scripting",
    "ScriptOutcome": "scriptrun",
    "check_gradients": "gradchecking",
    "examine_run": "autopsying",
    "examine_script": "autopsying",
    "examine_target": "autopsying",
    "holds_target": "loading",
    "open_debugger": "autopsying",
    "publish_gradcheck": "checkpage",
    "publish": "publishing",
    "record": "recording",
    "require_empty": "checkpage",
    "run": "running",
    "run_script": "scriptrun",
    "target": "building",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nndiag.session' has no attribute {name!r}")
    return getattr(import_module(f"nndiag.session.{_HOMES[name]}"), name)
