import os
import platform
from pathlib import Path

import pytest

from nndiag import store
from nndiag.records import Header, StepRecord


def test_runs_are_listed_newest_first_and_junk_is_passed_over(tmp_path: Path) -> None:
    for name, started in (
        ("old", "2026-01-01T00:00:00Z"),
        ("new", "2026-03-01T00:00:00Z"),
        ("middle", "2026-02-01T00:00:00Z"),
    ):
        writer = store.create(tmp_path / name, Header(target=name, started=started))
        writer.add(StepRecord(0, 0.0, 2.0, {}))
        writer.add(StepRecord(1, 0.0, 1.5, {}))
        writer.add(StepRecord(2, 0.0, None, {}))
        writer.close("failed")
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "run.sqlite").write_text("no database")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")

    listed = store.list_runs(tmp_path)

    assert [run.path.name for run in listed] == ["new", "middle", "old"]
    assert listed[0] == store.RunSummary(
        path=tmp_path / "new",
        started="2026-03-01T00:00:00Z",
        target="new",
        status="failed",
        steps=3,
        loss=1.5,
    )


def test_a_run_without_steps_has_no_loss(tmp_path: Path) -> None:
    writer = store.create(tmp_path / "run", Header())
    (run,) = store.list_runs(tmp_path)
    assert (run.status, run.steps, run.loss) == ("running", 0, None)
    writer.close("finished")


def test_no_folder_no_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert store.list_runs(tmp_path / "nowhere") == ()
    assert store.list_runs(tmp_path / "file") == ()


NO_PROCESS = 2**31 - 1  # beyond what Linux and macOS number their processes


@pytest.mark.parametrize(
    ("host", "process", "status"),
    [
        (platform.node(), NO_PROCESS, "killed"),
        (platform.node(), os.getpid(), "running"),
        ("another computer", NO_PROCESS, "running"),
        (platform.node(), 2**62, "running"),
        (platform.node(), "'x'", "running"),
        (platform.node(), "NULL", "running"),
    ],
    ids=["gone", "alive", "elsewhere", "too large", "a text", "unknown"],
)
def test_a_run_is_called_killed_if_its_process_is_known_to_be_gone(
    tampered, host: str, process: object, status: str
) -> None:
    path = tampered(
        f"UPDATE status SET status = 'running', host = '{host}', process = {process}"
    )
    (run,) = store.list_runs(path.parent)
    assert run.status == status
