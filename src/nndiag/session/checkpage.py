"""A gradient check as files: a page, its pictures, and JSON."""

from __future__ import annotations

from pathlib import Path

from nndiag import render
from nndiag.errors import RunError, SettingError
from nndiag.records import GradCheck
from nndiag.report.gradcheck import arrange


def publish_gradcheck(
    checks: tuple[GradCheck, ...], directory: Path, *, dpi: int = 150
) -> Path:
    """Writes ``gradcheck.html``, ``gradcheck.json`` and ``figures/*.png``.

    Args:
        checks: from `check_gradients`.
        directory: a new one, or an empty one.
        dpi: resolution of the pictures.

    Returns:
        The page.

    Raises:
        RunError: the directory cannot be written.
    """
    report = arrange(checks)
    page = directory / "gradcheck.html"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        page.write_text(render.html(report), encoding="utf-8")
        document = render.gradcheck_json(checks)
        (directory / "gradcheck.json").write_text(document + "\n", encoding="utf-8")
        render.save_figures(report, directory / "figures", dpi=dpi)
    except OSError as error:
        raise RunError(f"nothing can be written into {directory}: {error}") from error
    return page


def require_empty(directory: Path) -> None:
    """Makes sure that nothing would be overwritten.

    Raises:
        SettingError: `directory` is a file, or holds something.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise SettingError(f"{directory} exists; choose another directory")
