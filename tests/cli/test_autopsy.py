"""`nndiag autopsy`: targets, stored runs and scripts that never heard of it."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import pytest

SCRIPT = """
import functools, sys
import jax, jax.numpy as jnp

class Model:
    @functools.partial(jax.jit, static_argnums=0)
    def norm(self, w):
        return jnp.sqrt(jnp.sum(w * w))

@functools.partial(jax.jit, static_argnames=("power",), donate_argnums=0)
def step(w, x, power=2):
    return w - 0.1 * jax.grad(lambda w: model.norm(x * w) ** power)(w)  # here

model = Model()
w = jnp.ones(3)
print("words", *sys.argv[1:])
for i in range(6):
    w = step(w, jnp.full(3, float(i < int(sys.argv[1]))), power=1)
print("end")
"""

TARGET = """
import jax, jax.numpy as jnp, nndiag, optax

def loss(w, x):
    return jnp.log(w - 0.5).sum() + x.sum()  # here

target = nndiag.target(
    init=lambda key: jnp.asarray([0.9]),
    loss=loss,
    optimizer=optax.sgd(0.1),
    data=jnp.ones((8, 1)),
    batch_size=2,
)
"""


@pytest.fixture
def script(tmp_path):
    file = tmp_path / "train.py"
    file.write_text(SCRIPT)
    return file


@pytest.fixture
def model(tmp_path):
    file = tmp_path / "falling_model.py"
    file.write_text(TARGET)
    return file


def marked_line(file: Path) -> int:
    return next(
        i for i, line in enumerate(file.read_text().splitlines(), 1) if "# here" in line
    )


def test_a_script_is_run_until_a_jitted_call_returns_a_nan(nndiag, script):
    jit = jax.jit
    answer = nndiag("autopsy", str(script), "--json", "--", "4", "--lr")
    assert answer.code == 1
    document = json.loads(answer.out)
    assert document["step"] == 4
    found = document["autopsy"]
    assert (found["kind"], found["direction"]) == ("nan", "backward")
    assert found["source"] == "return jnp.sqrt(jnp.sum(w * w))"
    assert "words 4 --lr" in answer.err
    assert "end" not in answer.err
    assert jax.jit is jit


def test_a_script_without_a_nan_runs_to_its_end(nndiag, script):
    answer = nndiag("autopsy", str(script), "--", "9")
    assert answer.code == 0
    assert "end" in answer.out
    assert "No NaN in 6 jitted calls; --look-for any looks for both." in answer.out


INFINITE = """
import jax, jax.numpy as jnp

@jax.jit
def evaluate(w):
    return -jnp.inf * jnp.ones(2)

@jax.jit
def step(state, x):
    w = state["w"] * jnp.exp(x)  # here
    return {"w": w, "loss": jnp.sum(w - w)}

state = {"w": jnp.ones(3)}
for i in range(6):
    evaluate(state["w"])
    state |= step({"w": state["w"]}, jnp.float32(100.0 if i == 2 else 0.5))
"""


def test_an_inf_is_led_back_to_the_call_that_made_it(nndiag, tmp_path):
    file = tmp_path / "infinite.py"
    file.write_text(INFINITE.replace("w - w", "0 * jnp.minimum(w, 1e30)"))
    assert nndiag("autopsy", str(file)).code == 0
    late = INFINITE.replace('"loss": jnp.sum(w - w)', '"loss": state["w"] - state["w"]')
    file.write_text(late)
    answer = nndiag("autopsy", str(file), "--json")
    assert answer.code == 1
    document = json.loads(answer.out)
    found = document["autopsy"]
    # two calls in each of the rounds 0 and 1, and one before it in round 2
    assert document["step"] == 5
    assert (found["primitive"], found["kind"]) == ("exp", "inf")
    assert found["line"] == marked_line(file)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("raise RuntimeError('no data')", "RuntimeError: no data, at line 1 (raise"),
        ("raise SystemExit(3)", "ended with exit code 3"),
        ("x = 3", "calls no function made by jax.jit"),
        ("def broken(:", "SyntaxError"),
    ],
)
def test_a_script_that_cannot_be_examined_is_one_line(nndiag, tmp_path, text, part):
    file = tmp_path / "other.py"
    file.write_text(text)
    answer = nndiag("autopsy", str(file))
    assert answer.code == 2
    assert part in answer.err
    assert len(answer.err.strip().splitlines()) == 1


def test_a_missing_script_and_an_unknown_target_are_one_line(nndiag):
    for subject in ("nowhere.py", "nowhere:target"):
        answer = nndiag("autopsy", subject)
        assert answer.code == 2
        assert "nowhere" in answer.err


def test_a_target_is_trained_until_it_breaks(nndiag, model):
    answer = nndiag("autopsy", f"{model}:target")
    assert answer.code == 1
    assert f"falling_model.py:{marked_line(model)}" in answer.out
    assert "log" in answer.out


def test_a_file_with_a_target_is_no_script(nndiag, model):
    answer = nndiag("autopsy", str(model), "--json")
    assert answer.code == 1
    assert json.loads(answer.out)["autopsy"]["line"] == marked_line(model)


def test_a_target_that_does_not_break_says_so(nndiag, model):
    answer = nndiag("autopsy", f"{model}:target", "--steps", "1")
    assert answer.code == 0
    assert "No NaN or Inf in 1 step." in answer.out


def test_a_stored_run_tells_its_autopsy_again(nndiag, model, tmp_path):
    run = tmp_path / "run"
    answer = nndiag("run", f"{model}:target", "--epochs", "4", "--out", str(run))
    assert answer.code == 0
    assert "replaying step" in answer.out
    again = nndiag("autopsy", str(run))
    assert again.code == 1
    assert f"falling_model.py:{marked_line(model)}" in again.out
    refused = nndiag("autopsy", str(run), "--pdb")
    assert refused.code == 2
    assert "has no arrays to look at" in refused.err


def test_a_run_without_an_autopsy_says_so(nndiag, store_run):
    answer = nndiag("autopsy", str(store_run()))
    assert answer.code == 0
    assert "No NaN or Inf in 3 steps." in answer.out


def test_the_script_that_repeats_it_is_written_to_a_new_directory(
    nndiag, model, tmp_path
):
    place = tmp_path / "again"
    assert nndiag("autopsy", str(model), "--reproduce", str(place)).code == 1
    done = subprocess.run(
        [sys.executable, place / "reproduce.py"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    beside = nndiag("autopsy", str(model), "--json", "--reproduce", str(place) + "-2")
    assert json.loads(beside.out)["autopsy"]["primitive"] == "log"
    assert "To repeat: python" in beside.err
    refused = nndiag("autopsy", str(model), "--reproduce", str(place))
    assert refused.code == 2
    assert "exists" in refused.err


def test_the_debugger_opens_at_the_line_with_the_arrays(model):
    done = subprocess.run(
        [sys.executable, "-m", "nndiag", "autopsy", str(model), "--pdb"],
        input="p operand_0.tolist()\nlist\nq\n",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    assert f"falling_model.py({marked_line(model)})" in done.stdout
    assert "(Pdb) [-" in done.stdout or "(Pdb) [0.0" in done.stdout


ODD = """
import copy, threading
import jax, jax.numpy as jnp

@jax.jit
def root(fn, look_for):
    return jnp.sqrt(fn) * look_for  # here

copied = copy.deepcopy(root)
thread = threading.Thread(target=copied, args=(jnp.asarray(-1.0), 2.0))
thread.start()
thread.join()
print("after")
"""


def test_odd_names_copies_and_threads_of_a_script_are_seen(nndiag, tmp_path):
    file = tmp_path / "odd.py"
    file.write_text(ODD)
    answer = nndiag("autopsy", str(file), "--json")
    assert answer.code == 1
    assert json.loads(answer.out)["autopsy"]["line"] == marked_line(file)
    assert "Traceback" not in answer.err


METRIC = """
import jax, jax.numpy as jnp

class Model:
    def init(self, key):
        return {"params": jnp.ones(3), "count": jnp.zeros(())}

    def train_step(self, state, batch):
        def loss(params):
            return jnp.sum(jnp.sqrt(5 - state["count"]) * params**2)  # here

        value, gradient = jax.value_and_grad(loss)(state["params"])
        params, count = state["params"] - 0.01 * gradient, state["count"] + 1
        metrics = {"best": jnp.asarray(jnp.inf), "e": jnp.exp(99 + value)}
        return {"params": params, "count": count}, {"loss": value, **metrics}

    def epoch(self, key):
        return jnp.ones((20, 2))

target = Model()
"""


def test_a_metric_that_is_infinite_on_purpose_is_not_the_fault(nndiag, tmp_path):
    file = tmp_path / "metric_model.py"
    file.write_text(METRIC)
    answer = nndiag("autopsy", f"{file}:target", "--json")
    document = json.loads(answer.out)
    assert document["step"] == 6
    assert document["autopsy"]["primitive"] == "sqrt"
    assert document["autopsy"]["line"] == marked_line(file)
    other = nndiag("autopsy", f"{file}:target", "--look-for", "inf")
    assert other.code == 0
    assert "Step 6 returned what is not finite" in other.out


def test_options_of_targets_are_refused_for_scripts(nndiag, script):
    answer = nndiag("autopsy", str(script), "--steps", "10")
    assert answer.code == 2
    assert "--steps is for targets" in answer.err
