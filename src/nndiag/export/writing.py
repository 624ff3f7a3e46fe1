"""Write an export whole, beside nothing that it could overwrite."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from nndiag import render, rules, store
from nndiag.errors import RunError, SettingError
from nndiag.export.table import rows
from nndiag.records import Run


class Format(NamedTuple):
    """A format: its default file name in the run, and the package that it needs."""

    name: str
    package: str | None = None


FORMATS: dict[str, Format] = {
    "tensorboard": Format("tensorboard", package="tensorboardX"),
    "csv": Format("readings.csv"),
    "parquet": Format("readings.parquet", package="pyarrow"),
    "json": Format("readings.json"),
}
"""The formats by name; a module of this package writes each."""


def write(path: str | Path, *, to: str, out: str | Path | None = None) -> Path:
    """Writes a stored run in the format of another tool.

    Every number of every recorded step is exported, one at a time, so that memory does
    not grow with the run; samples of activations stay in ``run.sqlite``, and but for
    JSON histograms and the statistics of single units do, too. Settings, command,
    versions and findings go along. The files appear when they are complete.

    Args:
        path: the run directory.
        to: ``"tensorboard"``, ``"csv"``, ``"parquet"`` or ``"json"``.
        out: the file to write, a directory for TensorBoard; `None` for one in the run
            directory.

    Returns:
        The file or directory written.

    Raises:
        SettingError: there is no such format, or its package is not installed.
        RunError: there is no readable run at `path`; `out` exists, as nothing is ever
            overwritten, or it cannot be written.

    Example:
        >>> from nndiag.records import Header, StepRecord
        >>> with TemporaryDirectory() as folder:
        ...     writer = store.create(Path(folder, "run-1"), Header())
        ...     writer.add(StepRecord(step=0, seconds=0.125, loss=2.5, metrics={}))
        ...     writer.close("finished")
        ...     print(write(writer.path, to="csv").read_text(encoding="utf-8"))
        step,role,site,quantity,value,kind,layer,file,line
        0,run,,seconds,0.125,,,,0
        0,run,,loss,2.5,,,,0
        <BLANKLINE>
    """
    if to not in FORMATS:
        raise SettingError(f"there is no format {to!r}; choose {', '.join(FORMATS)}")
    name, package = FORMATS[to]
    if package is not None:
        _require(package, to)
    run = store.read(path)
    place = run.path / name if out is None else Path(out)
    document = render.findings_json(run, rules.diagnose(run))
    with _staged(place) as staging:
        module = import_module(f"nndiag.export.{to}")
        table = rows(store.stream(run.path), run)
        held = {"arrays": _arrays(run)} if to == "json" else {}
        module.write(staging, document, table, **held)
    return place


def _arrays(run: Run) -> Iterator[tuple[int, str, str, str, list[float]]]:
    """Histograms and statistics of units, row after row."""
    for (role, quantity, site, step), array in run.vectors.items():
        yield step, role, str(site), quantity, array.ravel().tolist()


@contextmanager
def _staged(place: Path) -> Generator[Path]:
    """Somewhere to write what comes to stand at `place`, and beside it, when whole."""
    _require_free(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=place.parent, prefix=".nndiag-") as folder:
            yield Path(folder, place.name)
            made = {place.with_name(file.name): file for file in Path(folder).iterdir()}
            for target in made:
                _require_free(target)
            for target, file in made.items():
                file.rename(target)
    except OSError as error:
        raise RunError(
            f"{place} cannot be written ({error}); choose another place with --out"
        ) from error


def _require_free(place: Path) -> None:
    if place.exists() or place.is_symlink():
        raise RunError(
            f"{place} already exists and is never overwritten; choose another with "
            "--out, or remove it first"
        )


def _require(package: str, extra: str) -> None:
    try:
        import_module(package)
    except ImportError as error:
        raise SettingError(
            f"--to {extra} needs {package}, which cannot be imported ({error}); "
            f'pip install "nndiag[{extra}]"'
        ) from error
