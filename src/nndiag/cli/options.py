"""Options that several commands share, and how their values are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from nndiag.errors import SettingError


def whole(option: str) -> Callable[[int | str], int]:
    """A parser of whole numbers whose error names the option and the value.

    Example:
        >>> whole("--every")("12")
        12
        >>> whole("--every")("often")
        Traceback (most recent call last):
            ...
        nndiag.errors.SettingError: --every is 'often'; it must be a whole number
    """

    def parse(value: int | str) -> int:
        try:
            return int(value)
        except ValueError:
            raise SettingError(
                f"{option} is {value!r}; it must be a whole number"
            ) from None

    return parse


def refuse_for_script(script: str, options: Mapping[str, object]) -> None:
    """Raises if an option was given that only a target understands.

    Raises:
        SettingError: one of `options`, by flag, has a value.
    """
    for flag, value in options.items():
        if value:
            raise SettingError(
                f"{flag} is for targets; {script} is run as a script, which takes its "
                "own arguments after --"
            )


def assignments(pairs: list[str]) -> dict[str, str]:
    """The values of ``--set``, by name; of two for the same name the last holds.

    Example:
        >>> assignments(["depth=3", "learning_rate = 0.1"])
        {'depth': '3', 'learning_rate': '0.1'}

    Raises:
        SettingError: if one is not ``key=value``.
    """
    changes: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise SettingError(f"--set is {pair!r}; write key=value")
        changes[name.strip()] = value.strip()
    return changes


AsJson = Annotated[
    bool,
    typer.Option("--json", help="Findings as JSON on stdout, all else on stderr."),
]
OpenPage = Annotated[bool, typer.Option("--open", help="Open the report in a browser.")]
Dpi = Annotated[
    int,
    typer.Option(
        parser=whole("--dpi"), metavar="N", help="Resolution of the PNG pictures."
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        parser=whole("--epochs"),
        metavar="N",
        help="Epochs to train.  [default: the target's]",
        show_default=False,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        parser=whole("--steps"),
        metavar="N",
        help="Stop after N steps.",
        show_default=False,
    ),
]
Seed = Annotated[
    int,
    typer.Option(parser=whole("--seed"), metavar="N", help="Seed of the run."),
]
Preset = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Settings that the target has a name for."),
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a setting; again for more."
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        metavar="PATTERN",
        help="Measure only places of this name or scope, * for anything; again for "
        "more.",
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude", metavar="PATTERN", help="Do not measure such places; again."
    ),
]
Data = Annotated[
    str | None,
    typer.Option(metavar="PATH", help="The data to train on.", show_default=False),
]
