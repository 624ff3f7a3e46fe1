from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from rich.console import Console

from nndiag.cli import main
from nndiag.records import Finding, Header, Run, Site, StepRecord
from nndiag.session.options import RunOptions
from nndiag.store import create, read


class Answer(NamedTuple):
    """What a command line came to."""

    code: int
    out: str
    err: str


@pytest.fixture
def nndiag(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """The command `nndiag`, in this process."""

    def call(*words: str) -> Answer:
        code = main(words)
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return call


@pytest.fixture
def store_run(tmp_path: Path) -> Callable[..., Path]:
    """Stores a run of three steps, without readings."""

    def make(name: str = "run-1", *, status: Any = "finished", **header: Any) -> Path:
        path = tmp_path / name
        writer = create(path, Header(**header))
        for step in range(3):
            writer.add(StepRecord(step, step / 8, 2.5 - step, {}))
        writer.close(status)
        return path

    return make


@pytest.fixture
def finding() -> Callable[..., Finding]:
    def make(severity: Any = "error", symptoms: tuple[Finding, ...] = ()) -> Finding:
        return Finding(
            code="ND201",
            name="vanishing_gradient",
            title="The gradient fades by 1e-6 from the last layer to the first.",
            severity=severity,
            confidence=0.9,
            sites=(Site("hidden_1/sigmoid", kind="activation"),),
            first_step=0,
            last_step=2,
            evidence=(),
            cause="Saturated from the start.",
            remedies=("Use relu.",),
            picture="profile",
            symptoms=symptoms,
        )

    return make


@dataclass
class Session:
    """Stands in for `nndiag.session`, and keeps what it was asked for."""

    run_directory: Path
    findings: tuple[Finding, ...] = ()
    error: BaseException | None = None
    options: list[RunOptions] = field(default_factory=list)
    consoles: list[Console | None] = field(default_factory=list)
    published: list[tuple[Path, int]] = field(default_factory=list)
    RunOptions = RunOptions

    def run(self, options: RunOptions, console: Console | None) -> SimpleNamespace:
        self.options.append(options)
        self.consoles.append(console)
        print("the target talks")
        if console is not None:
            console.print("the live view")
        return self._outcome()

    def publish(self, path: Path, dpi: int) -> SimpleNamespace:
        self.published.append((path, dpi))
        return self._outcome()

    def _outcome(self) -> SimpleNamespace:
        if self.error is not None:
            raise self.error
        run: Run = read(self.run_directory)
        return SimpleNamespace(
            path=run.path,
            run=run,
            findings=self.findings,
            page=run.path / "report.html",
            pictures=(),
        )


@pytest.fixture
def session(store_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session that trains nothing, in the place of the real one."""
    session = Session(store_run())
    monkeypatch.setattr("nndiag.session", session)
    return session
