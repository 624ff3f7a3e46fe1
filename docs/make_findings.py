"""Write the page of every finding into ``docs/findings/``, from the rules themselves.

``python docs/make_findings.py`` writes them; with ``--check`` it writes nothing and
ends with 1 if a page is not current.
"""

from __future__ import annotations

import sys
from pathlib import Path

from nndiag.rules.catalogue import heading
from nndiag.rules.explanation import PAGES

FOLDER = Path(__file__).parent / "findings"


def pages() -> dict[str, str]:
    """File name to contents."""
    rows = [
        f"| [{code}]({code}.md) | {heading(page)[1]} |" for code, page in PAGES.items()
    ]
    index = "\n".join(
        [
            "# Findings",
            "",
            "Made by `docs/make_findings.py` from the rules in `src/nndiag/rules/`;",
            "`nndiag explain CODE` prints the same pages.",
            "",
            "| code | name |",
            "|---|---|",
            *rows,
        ]
    )
    single = {f"{code}.md": page.strip() + "\n" for code, page in PAGES.items()}
    return {"README.md": index + "\n", **single}


def stale() -> list[str]:
    """Names of the files in the folder that are missing, outdated or left over."""
    wanted = pages()
    present = {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.md")}
    names = wanted.keys() | present.keys()
    return sorted(name for name in names if wanted.get(name) != present.get(name))


def main(arguments: list[str]) -> int:
    """Write the pages, or check them; returns the exit code."""
    if "--check" in arguments:
        old = stale()
        for name in old:
            print(f"not current: docs/findings/{name}")
        return 1 if old else 0
    FOLDER.mkdir(exist_ok=True)
    for name in stale():
        path = FOLDER / name
        if name in pages():
            path.write_text(pages()[name], "utf-8")
        else:
            path.unlink()
        print(f"docs/findings/{name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
