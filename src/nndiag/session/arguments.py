"""The arguments of a plain function: saved by name, or made by its own module."""

from __future__ import annotations

import inspect
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from nndiag.errors import SettingError, TargetError
from nndiag.session.wording import name_and_text

MAKER = "example_arguments"
"""Name of the function that makes arguments, beside the function that takes them."""

_NAMED = 12
"""Arrays that are named in a message at most."""


class Arguments(NamedTuple):
    """What to call a function with.

    Attributes:
        args: by position.
        kwargs: by name.
        source: where they are from, for messages.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    source: str


def find_arguments(
    function: Callable[..., Any], name: str, module: ModuleType, at: Path | None
) -> Arguments:
    """The arguments of a function, from a file or from its module.

    Args:
        function: takes them.
        name: of the function, for messages.
        module: has a function `example_arguments`, if `at` is `None`. It returns a
            tuple, or a dictionary by parameter name.
        at: an ``.npz`` file of arrays by parameter name; ``"params.w"`` or
            ``"params/w"`` is the entry ``"w"`` of a dictionary, ``"params/0"`` the
            first element of a list.

    Raises:
        SettingError: there are none, or they do not fit the function.
        TargetError: `example_arguments` raises.
    """
    signature = _signature(function)
    if at is not None:
        return _match(function, name, _nest(_load(at)), str(at))
    maker = getattr(module, MAKER, None)
    if not callable(maker):
        raise SettingError(
            f"{name}{signature or '()'} needs arguments: give --at saved.npz with "
            f"arrays by parameter name, or write a function {MAKER}() beside it"
        )
    try:
        made: Any = maker()
    except Exception as error:
        raise TargetError(f"{MAKER}() failed: {name_and_text(error)}") from error
    if isinstance(made, Mapping):
        return _match(function, name, dict(made), f"{MAKER}()")
    if not isinstance(made, tuple | list):
        raise TargetError(
            f"{MAKER}() returned a {type(made).__name__}; return a tuple of arguments, "
            "or a dictionary by parameter name"
        )
    return Arguments(tuple(made), {}, f"{MAKER}()")


def outline(function: Callable[..., Any], arguments: Arguments) -> str:
    """The arrays among the arguments with their shapes, for an error message."""
    signature = _signature(function)
    names = list(signature.parameters) if signature else []
    names += [str(place) for place in range(len(names), len(arguments.args))]
    named = dict(zip(names, arguments.args, strict=False))
    shapes = _shapes({**named, **arguments.kwargs})
    return ", ".join(shapes[:_NAMED]) + (", …" if len(shapes) > _NAMED else "")


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def _load(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise SettingError(
                    f"{path} holds one array without a name; save with "
                    "numpy.savez(path, params=…, batch=…)"
                )
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise SettingError(f"there is no file {path}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise SettingError(
            f"{path} is no .npz file of plain arrays; make one with "
            "numpy.savez(path, params=…, batch=…)"
        ) from error
    for name, array in arrays.items():
        if array.dtype.kind not in "biufcV":
            raise SettingError(
                f"{name} in {path} holds {array.dtype}; only numbers are arguments"
            )
    return arrays


def _nest(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Dictionaries and lists from names with parts."""
    root: dict[str, Any] = {}
    for name, value in arrays.items():
        *folders, last = name.replace("/", ".").split(".")
        place = root
        for folder in folders:
            place = place.setdefault(folder, {})
            if not isinstance(place, dict):
                raise SettingError(f"{name!r} lies within an array of that name")
        if last in place:
            raise SettingError(f"there are two arrays for {name!r}")
        place[last] = value
    return {name: _listed(value) for name, value in root.items()}


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if set(value) == {str(place) for place in range(len(value))}:
        return [_listed(value[str(place)]) for place in range(len(value))]
    return {name: _listed(part) for name, part in value.items()}


def _match(
    function: Callable[..., Any], name: str, named: dict[str, Any], source: str
) -> Arguments:
    """Positions for names, as far as the function has them."""
    signature = _signature(function)
    if signature is None:
        raise SettingError(f"{name} does not say its parameters; write {MAKER}()")
    parameters = signature.parameters
    required = [
        parameter.name
        for parameter in parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    open_end = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    missing = [wanted for wanted in required if wanted not in named]
    strange = [] if open_end else [word for word in named if word not in parameters]
    if missing or strange:
        faults = [f"it has no {', no '.join(missing)}"] if missing else []
        if strange:
            faults.append(f"{name} takes no {', no '.join(strange)}")
        raise SettingError(
            f"{source} does not fit {name}{signature}: {'; '.join(faults)}; "
            f"it has {', '.join(_shapes(named)) or 'nothing'}"
        )
    args: list[Any] = []
    kwargs: dict[str, Any] = dict(named)
    for parameter in parameters.values():
        positional = parameter.kind in (
            parameter.POSITIONAL_ONLY,
            parameter.POSITIONAL_OR_KEYWORD,
        )
        if not positional or parameter.name not in kwargs:
            break
        args.append(kwargs.pop(parameter.name))
    return Arguments(tuple(args), kwargs, source)


def _shapes(value: Any, path: str = "") -> list[str]:
    """``"params/w 784×128"`` for each array."""
    if isinstance(value, Mapping):
        items = [(str(name), part) for name, part in value.items()]
    elif isinstance(value, list | tuple):
        items = [(str(place), part) for place, part in enumerate(value)]
    else:
        shape = "×".join(map(str, np.shape(value))) or "scalar"
        return [f"{path} {shape}"]
    return [
        shape
        for name, part in items
        for shape in _shapes(part, f"{path}/{name}" if path else name)
    ]
