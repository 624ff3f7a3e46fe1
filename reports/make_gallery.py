"""Makes the example reports in ``reports/gallery``: ``python reports/make_gallery.py``.

Each is a real run or a real check, with all that `nndiag run` and `nndiag gradcheck`
write, but for what tells of the machine: its name, and absolute paths.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sqlite3
import sys
from pathlib import Path

from nndiag import session

GALLERY = Path(__file__).resolve().parent / "gallery"

CASES: dict[str, session.RunOptions] = {
    "deep-sigmoid": session.RunOptions(preset="deep-sigmoid", every=30),
    "raw-pixels": session.RunOptions(target="examples/raw_pixels.py"),
    "relu": session.RunOptions(preset="relu"),
}
"""The examples: a sick run, one that breaks, and a healthy one."""

CHECKS: dict[str, session.CheckOptions] = {
    "blog-network": session.CheckOptions(
        subject="examples/blog_network.py:loss",
        gradient="examples/blog_network.py:backprop",
    ),
}
"""Gradients: one written by hand, and wrong."""


def make(name: str, folder: Path) -> session.Outcome:
    """Train one of `CASES` and leave its run directory, `name`, in `folder`."""
    options = CASES[name]
    path = folder / name
    what = f"--preset {options.preset}" if options.preset else options.target
    session.run(dataclasses.replace(options, out=path))
    shutil.rmtree(path / "failure", ignore_errors=True)  # it holds absolute paths
    _forget_the_machine(path, f"nndiag run {what} --every {options.every}")
    return session.publish(path, dpi=options.dpi)


def _forget_the_machine(path: Path, command: str) -> None:
    connection = sqlite3.connect(path / "run.sqlite")
    with connection:
        connection.execute("UPDATE status SET process = NULL, host = NULL")
        files = connection.execute("SELECT DISTINCT file FROM site").fetchall()
        connection.executemany(
            "UPDATE site SET file = ? WHERE file = ?",
            [(_below_its_folder(file), file) for (file,) in files],
        )
    connection.execute("VACUUM")
    connection.close()
    header = path / "run.json"
    contents = json.loads(header.read_text(encoding="utf-8"))
    contents |= {"command": command, "git": ""}
    header.write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")


def _below_its_folder(file: str) -> str:
    """The path of a module from the folder that Python imports it from."""
    folders = sorted(map(os.path.abspath, sys.path), key=len, reverse=True)
    for folder in folders:
        if file.startswith(f"{folder}{os.sep}"):
            return Path(file).relative_to(folder).as_posix()
    return file


def main() -> None:
    """Make every example anew."""
    os.chdir(GALLERY.parents[1])  # where the examples are
    for name in CASES:
        shutil.rmtree(GALLERY / name, ignore_errors=True)
        outcome = make(name, GALLERY)
        codes = ", ".join(finding.code for finding in outcome.findings) or "healthy"
        print(f"{name}: {codes}", file=sys.stderr)
    for name, check in CHECKS.items():
        shutil.rmtree(GALLERY / name, ignore_errors=True)
        found = session.check_gradients(check)
        session.publish_gradcheck(found, GALLERY / name)
        codes = ", ".join(finding.code for one in found for finding in one.findings)
        print(f"{name}: {codes or 'right'}", file=sys.stderr)


if __name__ == "__main__":
    main()
