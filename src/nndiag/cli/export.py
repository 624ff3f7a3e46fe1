"""``nndiag export``: a stored run in the format of another tool."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """What an export is written as."""

    tensorboard = "tensorboard"
    csv = "csv"
    parquet = "parquet"
    json = "json"


def export(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="The directory of a run."),
    ],
    to: Annotated[Format, typer.Option("--to", help="The format.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="The file to write, a directory for tensorboard; a new one.  "
            "[default: one in RUN]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write every number of a stored run for TensorBoard, or as one tidy table.

    Settings, command, versions and findings go along. Nothing is ever overwritten.
    tensorboard and parquet need an extra: pip install "nndiag[tensorboard]" or
    "nndiag[parquet]".
    """
    from nndiag.export import write

    place = write(run, to=to.value, out=out)
    print(place)
    if to is Format.tensorboard:
        import shlex

        print(f"Next: tensorboard --logdir {shlex.quote(str(place))}")
