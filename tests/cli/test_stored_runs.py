import json
import subprocess
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


def test_report_publishes_the_run_and_says_what_it_says(
    nndiag: Command, session: Any
) -> None:
    answer = nndiag("report", "runs/1", "--dpi", "300")
    assert answer.code == 0
    assert session.published == [(Path("runs/1"), 300)]
    assert str(session.run_directory / "report.html") in answer.out


def test_report_as_json_prints_json_and_writes_nothing(
    nndiag: Command, store_run: Callable[..., Path]
) -> None:
    path = store_run()
    before = sorted(path.rglob("*"))
    answer = nndiag("report", str(path), "--json")
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(answer.out)["run"]["steps"] == 3
    assert sorted(path.rglob("*")) == before


def test_report_opens_the_page_it_wrote_and_prints_json_all_the_same(
    nndiag: Command, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    answer = nndiag("report", "runs/1", "--json", "--open")
    assert json.loads(answer.out)["run"]["steps"] == 3
    assert opened == [(session.run_directory / "report.html").as_uri()]


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_report_needs_no_jax(store_run: Callable[..., Path], words: list[str]) -> None:
    program = (
        "import sys; sys.modules |= dict.fromkeys(['jax', 'jaxlib', 'optax']); "
        "from nndiag.cli import main; raise SystemExit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "report", str(store_run()), *words],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_list_shows_each_run_and_the_next_command(
    nndiag: Command, store_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store_run("early", target="a:b", started="2026-01-01T10:00:00+00:00")
    newest = store_run("late", target="c:d", started="2026-01-02T11:30:00+00:00")
    monkeypatch.chdir(newest.parent)
    answer = nndiag("list", ".")
    early, late = (
        next(line.split() for line in answer.out.splitlines() if name in line.split())
        for name in ("early", "late")
    )
    assert early == ["early", "2026-01-01", "10:00", "a:b", "finished", "3", "0.5"]
    assert late[:3] == ["late", "2026-01-02", "11:30"]
    assert answer.out.index("late") < answer.out.index("early")
    assert answer.out.rstrip().endswith("nndiag report late")


def test_list_shows_hostile_names_as_text(
    nndiag: Command, store_run: Callable[..., Path]
) -> None:
    path = store_run(target="[red]\x1b[31mx")
    answer = nndiag("list", str(path.parent))
    assert answer.code == 0
    assert "\x1b" not in answer.out
    assert "[red]" in answer.out


def test_list_where_there_is_nothing_yet_says_what_to_type(
    nndiag: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert nndiag("list") == (0, "There are no runs in reports. Next: nndiag run\n", "")


def test_explain_prints_the_page_as_it_is_written_into_a_pipe(nndiag: Command) -> None:
    by_code, by_name = (
        nndiag("explain", "nd201"),
        nndiag("explain", "vanishing_gradient"),
    )
    assert by_code == by_name
    assert by_code.code == 0
    assert by_code.out.startswith("# ND201 vanishing_gradient\n\n## What it measures\n")


def test_explain_renders_the_page_on_a_terminal(
    nndiag: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "70")
    answer = nndiag("explain", "ND201")
    assert "# ND201" not in answer.out
    assert "vanishing_gradient" in answer.out and "\x1b[" in answer.out
