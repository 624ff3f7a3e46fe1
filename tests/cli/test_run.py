import json
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nndiag.records import Finding

Command = Callable[..., Any]


def test_by_default_the_bundled_target_is_watched_whole(
    nndiag: Command, session: Any
) -> None:
    assert nndiag("run").code == 0
    (options,) = session.options
    assert options == session.RunOptions()


def test_each_option_reaches_the_session(nndiag: Command, session: Any) -> None:
    words = ["my.model:target", "--preset", "tanh", "--data", "digits"]
    words += ["--set", "depth=3", "--set", "name=a=b", "--set", "depth=4"]
    words += ["--every", "7", "--epochs", "2", "--steps", "50", "--seed", "4"]
    words += ["--out", "runs/1", "--debug-nans", "--dpi", "300"]
    assert nndiag("run", *words).code == 0
    (options,) = session.options
    assert options == session.RunOptions(
        target="my.model:target",
        preset="tanh",
        changes={"depth": "4", "name": "a=b"},
        data="digits",
        every=7,
        epochs=2,
        steps=50,
        seed=4,
        out=Path("runs/1"),
        debug_nans=True,
        dpi=300,
    )


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], set()),
        (["--watch-saturation"], {"saturation"}),
        (["--watch-gradients", "--watch-updates"], {"gradients", "updates"}),
        (["--watch-overflow"], {"overflow"}),
        (["--watch-all"], {"saturation", "gradients", "updates", "overflow"}),
    ],
)
def test_each_watch_option_adds_its_part(
    nndiag: Command, session: Any, words: list[str], parts: set[str]
) -> None:
    assert nndiag("run", *words).code == 0
    assert session.options[0].parts == parts


def test_a_run_ends_with_its_findings_its_page_and_the_next_command(
    nndiag: Command, session: Any, finding: Callable[..., Finding]
) -> None:
    session.findings = (finding(),)
    answer = nndiag("run")
    assert answer.code == 0
    assert "the live view" in answer.out
    assert "The gradient fades by 1e-6" in answer.out
    assert str(session.run_directory / "report.html") in answer.out
    assert answer.out.rstrip().endswith("nndiag explain ND201")


def test_a_healthy_run_ends_with_the_command_that_opens_its_page(
    nndiag: Command, session: Any
) -> None:
    answer = nndiag("run")
    command = f"nndiag report {session.run_directory} --open"
    assert answer.out.rstrip().endswith(command)


def test_json_leaves_stdout_to_the_findings(
    nndiag: Command, session: Any, finding: Callable[..., Finding]
) -> None:
    session.findings = (finding(),)
    answer = nndiag("run", "--json")
    document = json.loads(answer.out)
    assert [found["code"] for found in document["findings"]] == ["ND201"]
    assert "the target talks" in answer.err and "the live view" in answer.err


def test_quiet_prints_the_path_of_the_report_alone(
    nndiag: Command, session: Any
) -> None:
    answer = nndiag("run", "--quiet")
    assert answer.out == f"{session.run_directory / 'report.html'}\n"
    assert session.consoles == [None]


def test_quiet_json_shows_no_live_view(nndiag: Command, session: Any) -> None:
    answer = nndiag("run", "--quiet", "--json")
    assert json.loads(answer.out)["findings"] == []
    assert "the live view" not in answer.err


@pytest.mark.parametrize(
    ("limit", "severity", "code"),
    [
        ("never", "error", 0),
        ("warning", "info", 0),
        ("warning", "warning", 1),
        ("warning", "error", 1),
        ("error", "warning", 0),
        ("error", "error", 1),
    ],
)
def test_fail_on_a_severity_or_worse(
    nndiag: Command,
    session: Any,
    finding: Callable[..., Finding],
    limit: str,
    severity: str,
    code: int,
) -> None:
    session.findings = (finding(severity),)
    assert nndiag("run", "--fail-on", limit).code == code


def test_fail_on_looks_at_symptoms_too(
    nndiag: Command, session: Any, finding: Callable[..., Finding]
) -> None:
    session.findings = (finding("warning", symptoms=(finding("error"),)),)
    assert nndiag("run", "--fail-on", "error").code == 1


def test_an_interrupted_run_is_reported_and_ends_with_130(
    nndiag: Command, session: Any, store_run: Callable[..., Path]
) -> None:
    session.run_directory = store_run("cut-short", status="interrupted")
    answer = nndiag("run", "--fail-on", "error")
    assert answer.code == 130
    assert "cut-short" in answer.out


def test_a_run_whose_training_failed_is_reported_and_ends_with_2(
    nndiag: Command, session: Any, store_run: Callable[..., Path]
) -> None:
    session.run_directory = store_run("failed", status="failed")
    answer = nndiag("run")
    assert answer.code == 2
    assert "failed" in answer.out
    assert answer.err == (
        "nndiag: the target failed while it trained; the notes of the report say how\n"
    )


def test_open_hands_the_page_to_the_browser(
    nndiag: Command, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    assert nndiag("run", "--open").code == 0
    assert opened == [(session.run_directory / "report.html").as_uri()]


def test_open_without_a_browser_says_where_the_page_is(
    nndiag: Command, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    answer = nndiag("run", "--open")
    assert answer.code == 0
    page = session.run_directory / "report.html"
    assert answer.err == f"nndiag: found no browser; the report is {page}\n"
