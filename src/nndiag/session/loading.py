"""From a word on the command line to a target."""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from nndiag.errors import SettingError, TargetError
from nndiag.protocol import REQUIRED, Target


def load_target(name: str) -> Target:
    """Imports the target called `name`.

    Args:
        name: ``"package.module:attribute"``, ``"path/to/file.py:attribute"``; without
            an attribute, the module's ``target``, or the module itself.

    Raises:
        TargetError: there is no such module or attribute, importing it failed, or
            it is no target.
    """
    if name.endswith(".py") and Path(name).is_file() and not holds_target(Path(name)):
        raise TargetError(
            f"{name} is a script, no target: it defines neither target nor init and "
            f"train_step; nndiag run {name} watches it"
        )
    module, found = load_object(name)
    if found is module and not hasattr(module, "init"):
        found = getattr(module, "target", module)
    return _require_parts(found, name)


def load_object(name: str) -> tuple[ModuleType, Any]:
    """Imports what `name` says.

    Args:
        name: ``"package.module:attribute"`` or ``"path/to/file.py:attribute"``.

    Returns:
        The module, and what it calls `attribute`: without one, the module again.

    Raises:
        TargetError: there is no such module or attribute, or importing it failed.
    """
    place, _, attribute = name.partition(":")
    module = _import(place, name)
    found: Any = module
    for part in attribute.split(".") if attribute else ():
        if not hasattr(found, part):
            raise TargetError(
                f"{place} has no {attribute!r}{_meant(part, vars(module))}"
            )
        found = getattr(found, part)
    return module, found


def is_target(found: Any) -> bool:
    """Whether an object has what every target has."""
    return all(callable(getattr(found, part, None)) for part in REQUIRED)


def holds_target(path: Path) -> bool:
    """Whether a Python file looks like a target rather than a script.

    It is not run for that: it defines `target`, or both `init` and `train_step`.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return False
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            left = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {name.id for name in left if isinstance(name, ast.Name)}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return not names.isdisjoint({"target", "*"}) or {"init", "train_step"} <= names


def _import(place: str, name: str) -> ModuleType:
    if not place:
        raise TargetError(f"{name!r} names no module; write package.module:attribute")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        if place.endswith(".py"):
            return _import_file(Path(place))
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and place.startswith(error.name):
            raise TargetError(
                f"there is no module {error.name!r} here or among the installed "
                f"packages{_meant(place, _modules_here())}"
            ) from error
        raise TargetError(f"importing {place} failed: {error}") from error
    except TargetError:
        raise
    except Exception as error:
        raise TargetError(
            f"importing {place} failed: {type(error).__name__}: {error}"
        ) from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise TargetError(f"there is no file {path}")
    loaded = sys.modules.get(path.stem)
    if loaded is not None and _file(loaded) == _normal(path):
        # a function and its gradient may stand in one file: it is run once
        return loaded
    sys.path.insert(0, str(path.parent.resolve()))
    specification = importlib.util.spec_from_file_location(path.stem, path)
    if specification is None or specification.loader is None:
        raise TargetError(f"{path} cannot be imported as a Python file")
    module = importlib.util.module_from_spec(specification)
    sys.modules[path.stem] = module
    try:
        specification.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(path.stem, None)
        raise
    return module


def _file(module: ModuleType) -> str | None:
    name = getattr(module, "__file__", None)
    return _normal(Path(name)) if name else None


def _normal(path: Path) -> str:
    """The full path; links stay what they are called."""
    return os.path.normpath(path.absolute())


def _modules_here() -> list[str]:
    return [p.stem for p in Path.cwd().iterdir() if p.suffix == ".py" or p.is_dir()]


def _require_parts(found: Any, name: str) -> Target:
    missing = [part for part in REQUIRED if not callable(getattr(found, part, None))]
    if not any(callable(getattr(found, part, None)) for part in ("epoch", "batches")):
        missing.append("epoch (or batches)")
    if missing:
        raise TargetError(
            f"{name} is no target: it has no {', no '.join(missing)}; a target offers "
            "init(key), train_step(state, batch) and epoch(key) or batches(key)"
        )
    return found


def configure(
    target: Target, *, preset: str | None = None, changes: Mapping[str, Any]
) -> Target:
    """The target with the settings of a preset and then `changes`.

    Raises:
        SettingError: the target has no presets or settings, or does not know the name
            or value.
    """
    settings: dict[str, Any] = {}
    if preset is not None:
        presets = getattr(target, "presets", None)
        if not presets:
            raise SettingError(f"this target has no presets, so no {preset!r}")
        if preset not in presets:
            raise SettingError(
                f"there is no preset {preset!r}{_meant(preset, presets)}; "
                f"the presets are {', '.join(presets)}"
            )
        settings |= presets[preset]
    settings |= changes
    if not settings:
        return target
    if not hasattr(target, "with_settings"):
        raise SettingError(
            f"this target has no settings to change, so no {', '.join(settings)}"
        )
    try:
        return target.with_settings(**settings)  # type: ignore[attr-defined]
    except (ValueError, TypeError, KeyError) as error:
        raise SettingError(_sentence(error)) from error


def _sentence(error: Exception) -> str:
    text = str(error.args[0]) if error.args else type(error).__name__
    return " ".join(text.split())


def _meant(wrong: str, known: Any) -> str:
    names = [str(name) for name in known if not str(name).startswith("_")]
    close = difflib.get_close_matches(wrong, names, n=2, cutoff=0.6)
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
