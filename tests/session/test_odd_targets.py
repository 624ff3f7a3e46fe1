"""What targets do that a textbook step does not: nothing of it may hurt the run."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nndiag.errors import ProgramError
from nndiag.probes import level_of
from nndiag.session import RunOptions, run
from nndiag.session.loading import load_object
from nndiag.session.program import Program, settle
from nndiag.session.training import Trainer

sys.path.insert(0, str(Path(__file__).parent))
import toy


def loss(w, batch):
    return jnp.square(jnp.tanh(batch @ w)).mean()


def step(w, batch):
    value, gradient = jax.value_and_grad(loss)(w, batch)
    return w - 0.1 * gradient, {"loss": value}


class Odd:
    """A target whose parts each test chooses."""

    def __init__(self, train_step=step, *, sizes=(8,), start=None):
        self.train_step = train_step
        self.sizes = sizes
        self.start = jnp.ones(3) if start is None else start

    def init(self, key):
        return self.start

    def batches(self, key):
        for number, size in enumerate(self.sizes):
            yield np.random.default_rng(number).normal(size=(size, 3))


def train(monkeypatch, tmp_path, target, **changes):
    monkeypatch.setattr(toy, "odd", target, raising=False)
    chosen = {"epochs": 1, "every": 1} | changes
    options = RunOptions(target="toy:odd", out=tmp_path / "run", dpi=40, **chosen)
    return run(options).run


def norms(run):
    (site,) = run.of_kind("parameter")
    return run.series("gradient", "norm", site)


def expected_norms(sizes, epochs):
    w, found = jnp.ones(3), []
    for batch in list(Odd(sizes=sizes).batches(None)) * epochs:
        found.append(float(jnp.linalg.norm(jax.grad(loss)(w, jnp.asarray(batch)))))
        w, _ = step(w, jnp.asarray(batch))
    return found


def test_a_smaller_last_batch_keeps_its_readings_and_those_of_others(
    monkeypatch, tmp_path
):
    sizes = (64, 64, 64, 20)
    found = norms(train(monkeypatch, tmp_path, Odd(sizes=sizes), epochs=2))
    np.testing.assert_allclose(found, expected_norms(sizes, 2), rtol=1e-4)


def test_accumulated_gradients_are_one_number_a_step(monkeypatch, tmp_path):
    def accumulating(w, batch):
        def add(total, part):
            value, gradient = jax.value_and_grad(loss)(w, part)
            return total + gradient, value

        total, losses = jax.lax.scan(add, jnp.zeros(3), batch.reshape(4, 2, 3))
        return w - 0.1 * total / 4, {"loss": losses.mean()}

    stored = train(monkeypatch, tmp_path, Odd(accumulating))
    (batch,) = Odd().batches(None)
    parts = jnp.asarray(batch).reshape(4, 2, 3)
    each = [jax.grad(loss)(jnp.ones(3), part) for part in parts]
    squares = [float(jnp.square(gradient).sum()) for gradient in each]
    np.testing.assert_allclose(norms(stored), [np.mean(squares) ** 0.5], rtol=1e-5)
    outputs = jnp.tanh(parts @ jnp.ones(3))
    (site,) = stored.of_kind("activation")
    found = [stored.series("value", q, site)[0] for q in ("mean", "largest")]
    np.testing.assert_allclose(found, [outputs.mean(), abs(outputs).max()], rtol=1e-4)


def test_metrics_that_are_no_scalars_are_left_out(monkeypatch, tmp_path):
    def talkative(w, batch):
        w, metrics = step(w, batch)
        odd = {"parts": {"a": 1.0}, "none": None, "name": "x", "vector": w}
        return w, metrics | odd | {"rate": 0.5, "norm": jnp.abs(w).sum()}

    stored = train(monkeypatch, tmp_path, Odd(talkative))
    assert set(stored.metrics) == {"rate", "norm"}
    assert stored.metrics["rate"].tolist() == [0.5]


@pytest.mark.parametrize(
    ("changed", "types"),
    [
        (lambda w: w.astype(jnp.float32), r"bfloat16\[3\] and .* float32\[3\]"),
        (lambda w: w[:2], r"bfloat16\[3\] and .* bfloat16\[2\]"),
    ],
)
def test_a_state_that_changes_its_type_is_refused(
    monkeypatch, tmp_path, changed, types
):
    def changing(state, batch):
        w, metrics = step(state["w"], batch.astype(jnp.bfloat16))
        return {"w": changed(w)}, metrics

    target = Odd(changing, start={"w": jnp.ones(3, jnp.bfloat16)})
    with pytest.raises(ProgramError, match=rf"state\['w'\] as {types}"):
        train(monkeypatch, tmp_path, target)
    assert not (tmp_path / "run").exists()


def test_numbers_in_the_first_state_are_arrays_of_definite_types(monkeypatch, tmp_path):
    def counting(state, batch):
        w, metrics = step(state["w"], batch)
        return state | {"w": w, "n": state["n"] + 1, "s": state["s"] * 0.5}, metrics

    start = {"w": jnp.full(3, 1.0), "n": 0, "s": 1.0, "key": jax.random.key(0)}
    settled = settle(start)
    assert not any(settled[name].weak_type for name in "wns")
    stored = train(monkeypatch, tmp_path, Odd(counting, sizes=(8,) * 3, start=start))
    assert (stored.status, len(stored.steps)) == ("finished", 3)


def test_a_limit_ends_an_endless_epoch(monkeypatch, tmp_path):
    class Endless(Odd):
        pulled = 0

        def batches(self, key):
            while self.pulled < 50:  # endless, were the limit not kept
                self.pulled += 1
                yield np.ones((8, 3))

    target = Endless()
    stored = train(monkeypatch, tmp_path, target, epochs=None, steps=5)
    assert (len(stored.steps), target.pulled) == (5, 5)


def test_a_second_failure_does_not_hide_the_first(monkeypatch, tmp_path):
    class Failing(Odd):
        def batches(self, key):
            yield from super().batches(key)
            monkeypatch.setattr(Trainer, "finish", unreadable)
            raise RuntimeError("the first")

    def unreadable(self):
        raise RuntimeError("the second")

    stored = train(monkeypatch, tmp_path, Failing())
    assert stored.status == "failed"
    assert any("the first" in note for note in stored.notes)


def test_a_fault_at_a_later_shape_ends_the_watching_only(monkeypatch, tmp_path):
    from nndiag.probes import statistics

    plain = statistics.describe_value

    def broken_for_small(mark, level, value, *riders, **options):
        if value.shape[0] == 3:
            raise RuntimeError("a broken probe")
        return plain(mark, level, value, *riders, **options)

    monkeypatch.setattr(statistics, "describe_value", broken_for_small)
    sizes = (8, 8, 3, 8)
    stored = train(monkeypatch, tmp_path, Odd(sizes=sizes))
    assert stored.status == "finished"
    assert stored.steps.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(norms(stored), expected_norms(sizes, 1)[:2], rtol=1e-4)
    (note,) = [n for n in stored.notes if "stopped watching at step 2" in n]
    assert "a broken probe" in note


def test_an_error_of_the_target_at_a_later_shape_is_its_own(monkeypatch, tmp_path):
    def particular(w, batch):
        if batch.shape[0] == 3:
            raise ValueError("three rows are too few")
        return step(w, batch)

    # As on a device that is slower than the host: nothing has been read yet.
    monkeypatch.setattr("nndiag.session.training._is_ready", lambda pending: False)
    stored = train(monkeypatch, tmp_path, Odd(particular, sizes=(8, 3)))
    assert stored.status == "failed"
    assert stored.steps.tolist() == [0]
    (note,) = stored.notes
    assert "step 1 with ValueError: three rows are too few" in note


def test_unwatched_steps_have_no_readings():
    program = Program(step, level_of("standard"), every=1)
    records = []
    trainer = Trainer(program, show=records.append)
    program.watching = False
    trainer.run_stack(jnp.ones(3), jnp.ones((4, 8, 3)), None)
    trainer.finish()
    assert [r.readings for r in records] == [None] * 4


def test_a_file_reached_by_another_path_is_named_by_that_path(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "linked_program.py").write_text("def double(x): return x + x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    name = "linked_program.py:double"
    seen = [load_object(f"{place}/{name}")[1] for place in ("real", "link")]
    assert [f.__code__.co_filename for f in seen] == [
        str(tmp_path / "real" / "linked_program.py"),
        str(tmp_path / "link" / "linked_program.py"),
    ]
    assert load_object(f"link/{name}")[1] is seen[1]
