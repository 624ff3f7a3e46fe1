"""Several threads, several runs: each run gets its own, all of it, once."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser

import jax
import jax.numpy as jnp
import pytest

import nndiag
from nndiag.errors import RunError
from nndiag.records import Readings, Site, TensorStats

SITE = Site("w", kind="parameter", scope="", order=0)


def readings(number: float) -> Readings:
    return Readings(
        loss=jnp.float32(number),
        finite=jnp.float32(1),
        value={},
        cotangent={},
        parameter={},
        gradient={SITE: TensorStats(norm=jnp.float32(number + 0.5))},
        update={},
    )


@pytest.fixture
def hasty():
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def norms(stored):
    return stored.series("gradient", "norm", stored.of_kind("parameter")[0]).tolist()


def slow(number):
    """A number that the device still works on."""
    x = jnp.full((300, 300), 1e-3)
    heavy = jax.jit(lambda x: jax.lax.fori_loop(0, 400, lambda _, y: y @ x, x).sum())
    return heavy(x) * 0 + number


def test_threads_log_into_one_run_and_nothing_is_lost(tmp_path, hasty):
    with nndiag.record(tmp_path / "run") as run, ThreadPoolExecutor(8) as pool:

        def log(thread):
            for step in range(thread, 400, 8):
                run.log(step, readings(step), {"double": jnp.float32(2 * step)})
                if step % 50 == 0:
                    run.evaluate(step, {"accuracy": step / 400})
                    run.diagnose()

        list(pool.map(log, range(8)))
    stored = nndiag.load(tmp_path / "run")
    assert stored.steps.tolist() == stored.recorded.tolist() == list(range(400))
    assert norms(stored) == [step + 0.5 for step in range(400)]
    assert stored.metrics["double"].tolist() == [2 * step for step in range(400)]
    assert stored.evaluations["accuracy"][0].tolist() == list(range(0, 400, 50))
    assert stored.notes == ()


def test_runs_open_at_once_keep_apart(tmp_path):
    runs = [nndiag.record(tmp_path / str(number)) for number in range(3)]
    for step in range(20):
        for number, run in enumerate(runs):
            run.log(step, readings(100 * number + step))
    for run in reversed(runs):
        run.close()
    for number, run in enumerate(runs):
        stored = nndiag.load(run.path)
        assert stored.status == "finished"
        assert stored.loss.tolist() == [100 * number + step for step in range(20)]
        assert norms(stored) == [100 * number + step + 0.5 for step in range(20)]


def test_a_thread_that_logs_does_not_wait_for_one_that_diagnoses(tmp_path):
    with nndiag.record(tmp_path / "run") as run:
        last = [slow(number) for number in range(8)][-1]
        run.log(0, None, {"loss": last})
        thread = threading.Thread(target=run.diagnose)
        thread.start()
        time.sleep(0.01)
        run.log(1, readings(1))
        waited = last.is_ready()
        thread.join()
    assert not waited
    assert nndiag.load(tmp_path / "run").loss.tolist() == [7, 1]


def test_what_comes_after_the_end_is_told_once_and_not_stored(tmp_path):
    with nndiag.record(tmp_path / "run") as run:
        run.log(0, readings(0))
    before = (tmp_path / "run" / "run.sqlite").read_bytes()
    with pytest.warns(UserWarning, match="is closed: step 1 is not stored") as caught:
        run.log(1, readings(1))
        run.log(2, readings(2))
        run.evaluate(2, {"accuracy": 1.0})
        run.close("failed")
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert (tmp_path / "run" / "run.sqlite").read_bytes() == before
    assert [found.code for found in run.diagnose()] == []
    assert run.publish().page.is_file()


def test_an_evaluation_after_the_end_is_told_too(tmp_path):
    run = nndiag.record(tmp_path / "run")
    run.close()
    with pytest.warns(UserWarning, match="evaluation after step 3 is not stored"):
        run.evaluate(3, {"accuracy": 1.0})


def test_what_was_lost_is_told_by_the_first_close_alone(tmp_path):
    run = nndiag.record(tmp_path / "run")
    run.log(1.5, readings(0))
    with pytest.warns(UserWarning, match=r"step 1\.5"):
        run.close()
    run.close()


def test_all_that_was_logged_before_the_end_is_stored(tmp_path):
    run = nndiag.record(tmp_path / "run")
    for step in range(4):
        run.log(step, None, {"loss": slow(step)})
    run.close()
    assert nndiag.load(tmp_path / "run").loss.tolist() == [0, 1, 2, 3]


def test_a_directory_holds_one_run(tmp_path):
    with nndiag.record(tmp_path / "run") as run:
        with pytest.raises(RunError, match=r"run already exists .* another directory"):
            nndiag.record(tmp_path / "run")
        run.log(0, readings(3))
    with pytest.raises(RunError, match="already exists"):
        nndiag.record(tmp_path / "run")
    assert nndiag.load(tmp_path / "run").loss.tolist() == [3]


def test_of_those_who_ask_at_the_same_moment_one_gets_the_directory(tmp_path, hasty):
    for attempt in range(20):
        path = tmp_path / f"run-{attempt}"
        together = threading.Barrier(4)

        def begin(number, path=path, together=together):
            together.wait()
            try:
                return number, nndiag.record(path, every=number + 1)
            except RunError as error:
                assert "already exists" in str(error)
                return None

        with ThreadPoolExecutor(4) as pool:
            begun = [got for got in pool.map(begin, range(4)) if got is not None]
        ((number, run),) = begun
        run.log(0, readings(number))
        run.close()
        stored = nndiag.load(path)
        assert stored.header.every == number + 1
        assert stored.loss.tolist() == [number]


def test_a_notebook_shows_the_run_as_it_is_so_far(tmp_path):
    run = nndiag.record(tmp_path / "run")
    assert "no step was recorded" in words(run)
    for step in range(5):
        run.log(step, None, {"loss": slow(float("nan") if step == 4 else step)})
    assert "NaN" in words(run)
    run.close()
    assert "finished" in words(run)


def words(shown):
    texts = []
    parser = HTMLParser()
    parser.handle_data = texts.append
    parser.feed(shown._repr_html_())
    return " ".join(texts)
