import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from nndiag import store
from nndiag.errors import RunError
from nndiag.records import Header, Run, StepRecord, TensorStats

PRELUDE = """
import sys, time, resource
from pathlib import Path
from nndiag import store
from nndiag.records import *

def record(step):
    stats = {Site("a", kind="activation"): TensorStats(mean=float(step))}
    readings = Readings(0.0, 1.0, stats, {}, {}, {}, {})
    return StepRecord(step, step / 8, float(step), {}, readings)

path = Path(sys.argv[1])
"""


def start(path: Path, program: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + program, str(path)],
        stdout=subprocess.PIPE,
        text=True,
    )


def killed(process: subprocess.Popen[str]) -> str:
    """Kills without warning; what the process had said until then."""
    process.send_signal(signal.SIGKILL)
    assert process.stdout is not None
    with process.stdout:  # not `communicate`: it forgets what is buffered here
        said = process.stdout.read()
    assert process.wait() == -signal.SIGKILL
    return said


def read_until(path: Path, steps: int) -> Run:
    """The run once it has that many steps; the oracle for "sooner or later"."""
    deadline = time.monotonic() + 30
    while True:
        try:
            run = store.read(path)
        except RunError:  # it is being created
            assert time.monotonic() < deadline
            continue
        if len(run.steps) >= steps:
            return run
        assert time.monotonic() < deadline, f"{len(run.steps)} of {steps} steps"
        time.sleep(0.05)


def check_prefix(run: Run) -> None:
    """The first steps are there, none is missing between them, all are whole."""
    count = len(run.steps)
    assert run.steps.tolist() == list(range(count))
    assert run.loss.tolist() == list(range(count))
    assert run.recorded.tolist() == list(range(count))
    (site,) = run.sites
    assert run.series("value", "mean", site).tolist() == list(range(count))


def test_a_killed_run_has_lost_at_most_200_steps(tmp_path: Path) -> None:
    process = start(
        tmp_path / "run",
        """
writer = store.create(path, Header())
for step in range(10**6):
    writer.add(record(step))
    print(step, flush=True)
""",
    )
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if line == "1234\n":
            break
    last = int((said + killed(process)).split()[-1])
    run = store.read(tmp_path / "run", most=10**6)
    check_prefix(run)
    assert last - 200 <= run.steps[-1] <= last + 1
    assert run.status == "running"


def test_steps_are_committed_though_no_more_come_and_survive_a_kill(
    tmp_path: Path,
) -> None:
    path = tmp_path / "run"
    process = start(
        path,
        """
writer = store.create(path, Header(target="slow"))
for step in range(5):
    writer.add(record(step))
time.sleep(60)
""",
    )
    check_prefix(read_until(path, 5))
    (running,) = store.list_runs(tmp_path)
    assert (running.status, running.steps, running.loss) == ("running", 5, 4.0)
    killed(process)
    check_prefix(read_until(path, 5))
    (dead,) = store.list_runs(tmp_path)
    assert dead.status == "killed"
    moved = shutil.move(path, tmp_path / "moved ?mode=#%41")
    check_prefix(read_until(Path(moved), 5))


def test_a_full_disk_ends_the_recording_but_not_the_training(tmp_path: Path) -> None:
    process = start(
        tmp_path / "run",
        """
writer = store.create(path, Header())
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
for step in range(20_000):
    writer.add(record(step))
writer.evaluate(step, {"accuracy": 0.5})
writer.note("more")
writer.close("finished")
print(writer.lost)
print("trained", step)
""",
    )
    said, _ = process.communicate()
    lost, trained = said.splitlines()
    assert "Recording stopped at step" in lost
    assert trained == "trained 19999"
    run = store.read(tmp_path / "run", most=10**6)
    assert len(run.steps) >= 100
    check_prefix(run)


def test_a_record_that_cannot_be_stored_is_left_out(tmp_path: Path, record) -> None:
    writer = store.create(tmp_path / "run", Header())
    writer.add(record(0))
    writer.add(record(1)._replace(metrics={"accuracy": "high"}))
    assert writer.lost is not None
    assert "the metrics of step 1 (ValueError" in writer.lost
    writer.add(record(2**70))
    assert f"step {2**70} (OverflowError" in writer.lost
    writer.evaluate(0, {"accuracy": None})  # type: ignore[dict-item]
    writer.add(record(2))
    writer.close("finished")
    writer.add(record(3))
    run = store.read(tmp_path / "run")
    assert run.steps.tolist() == run.recorded.tolist() == [0, 1, 2]
    assert {step for _, step in run.samples} == {0, 1, 2}
    assert run.notes == (writer.lost,)


def test_a_live_run_is_read_while_it_is_written(tmp_path: Path, record) -> None:
    writer = store.create(tmp_path / "run", Header())
    for count in (3, 250, 700):
        for step in range(count):
            writer.add(record(step))
        writer.flush()
        run = store.read(tmp_path / "run")
        assert run.status == "running"
        assert run.steps.tolist() == list(range(count))
        assert run.loss.tolist() == list(range(count))
    writer.close("finished")


def test_every_reading_of_a_run_being_written_is_consistent(
    tmp_path: Path, record
) -> None:
    writer = store.create(tmp_path / "run", Header())
    writer.add(record(0))
    writer.flush()
    done = threading.Event()

    def train() -> None:
        for step in range(1, 3_000):
            writer.add(record(step))
        done.set()

    trainer = threading.Thread(target=train)
    trainer.start()
    lengths = []
    while not done.is_set():
        run = store.read(tmp_path / "run", most=10**6)
        np.testing.assert_array_equal(run.recorded, run.steps)
        weight = next(site for site in run.sites if site.kind == "parameter")
        norm = run.series("gradient", "norm", weight)
        np.testing.assert_array_equal(norm, run.steps + 0.5)
        lengths.append(len(run.steps))
    trainer.join()
    writer.close("finished")
    assert lengths == sorted(lengths)
    assert len(store.read(tmp_path / "run").steps) == 3_000


def test_many_threads_and_two_runs_in_one_process(tmp_path: Path, record) -> None:
    writers = [store.create(tmp_path / name, Header()) for name in ("a", "b")]

    def train(worker: int) -> None:
        for step in range(worker, 800, 4):
            for writer in writers:
                writer.add(record(step))
                writer.note(f"worker {worker}")
        writers[worker % 2].flush()

    threads = [threading.Thread(target=train, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for writer in writers:
        writer.close("finished")
        assert writer.lost is None
        run = store.read(writer.path)
        assert run.loss.tolist() == list(range(800))
        assert set(run.notes) == {f"worker {worker}" for worker in range(4)}


def test_one_thread_at_a_time_stores(tmp_path: Path) -> None:
    inside: list[str] = []
    overlaps: list[str] = []

    class Metrics(dict[str, float]):
        def items(self):  # the writer asks for them while it stores
            overlaps.extend(inside)
            inside.append(threading.current_thread().name)
            time.sleep(0.002)
            inside.remove(threading.current_thread().name)
            return super().items()

    writer = store.create(tmp_path / "run", Header())

    def train() -> None:
        for step in range(10):
            writer.add(StepRecord(step, 0.0, 1.0, Metrics(accuracy=1.0)))
            writer.evaluate(step, Metrics(accuracy=1.0))

    threads = [threading.Thread(target=train) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close("finished")
    assert writer.lost is None
    assert overlaps == []


def test_closing_beside_a_reader_still_ends_the_run(tmp_path: Path, record) -> None:
    writer = store.create(tmp_path / "run", Header())
    writer.add(record(0))
    writer.flush()
    reader = sqlite3.connect(tmp_path / "run" / "run.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM step").fetchone() == (1,)
    writer.add(record(1))
    writer.close("finished")
    assert writer.lost is None
    reader.close()
    run = store.read(tmp_path / "run")
    assert (run.status, run.steps.tolist()) == ("finished", [0, 1])


@pytest.mark.parametrize("survived", ["all", "no shared memory", "finished"])
def test_a_run_in_a_directory_that_is_not_writable(survived: str) -> None:
    reading = """
import os
import numpy.ma  # NumPy imports it late, perhaps from where others may not read
if os.geteuid() == 0:
    os.setuid(65534)  # permissions do not bind root
print(*store.read(path).loss)
"""
    # The temporary folder of pytest is closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="nndiag-test-"))
    try:
        program = "writer = store.create(path, Header())\n"
        program += "for step in range(7): writer.add(record(step))\n"
        if survived == "finished":
            program += "writer.close('finished')\n"
        program += "writer.flush(); print('there', flush=True); time.sleep(60)"
        process = start(folder / "run", program)
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        killed(process)
        if survived == "no shared memory":
            (folder / "run" / "run.sqlite-shm").unlink()
        for file in (folder / "run").iterdir():
            file.chmod(0o444)
        (folder / "run").chmod(0o555)
        folder.chmod(0o755)
        said, _ = start(folder / "run", reading).communicate()
        assert said.split() == [f"{step}.0" for step in range(7)]
    finally:
        (folder / "run").chmod(0o755)
        shutil.rmtree(folder)


@pytest.mark.parametrize("part", ["metrics", "readings"])
def test_a_bad_part_of_a_step_loses_only_itself(tmp_path, record, part):
    good = record(0)
    (site,) = good.readings.cotangent
    vector = {site: TensorStats(norm=np.ones(2))}
    bad = {
        "metrics": good._replace(metrics={"accuracy": None}),
        "readings": good._replace(readings=good.readings._replace(cotangent=vector)),
    }
    writer = store.create(tmp_path / "run", Header())
    writer.add(bad[part])
    writer.close("finished")
    assert f"the {part} of step 0" in (writer.lost or "")
    run = store.read(tmp_path / "run")
    assert run.loss.tolist() == [0.0]
    assert list(run.metrics) == ([] if part == "metrics" else ["accuracy"])
    assert run.recorded.tolist() == ([] if part == "readings" else [0])
