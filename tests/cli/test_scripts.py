"""`nndiag run script.py`: any script, unmodified."""

import json
import runpy
import subprocess
import sys

import numpy as np
import pytest

from nndiag.store import read

HEAD = """
import sys, jax, jax.numpy as jnp, numpy as np
X = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
def loss(w, x):
    return jnp.mean(jnp.tanh(x @ w) ** 2)
def step(w, x):
    value, g = jax.value_and_grad(loss)(w, x)
    return w - 0.1 * g, value
w = jnp.ones((3, 2))
"""
LOOP = """
for _ in range(12):
    w, value = step(w, X)
np.save("w.npy", np.asarray(w))
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Writes a script into an empty working directory."""
    monkeypatch.chdir(tmp_path)

    def write(body, name="train.py"):
        (tmp_path / name).write_text(HEAD + body)
        return name

    return write


@pytest.fixture
def run(nndiag, tmp_path):
    """Runs a script under watch; the answer and the directory of its run."""

    def call(name, *words, every="5"):
        options = ("--dpi", "30", "--every", every, "--out", str(tmp_path / "run"))
        return nndiag("run", *options, name, *words), tmp_path / "run"

    return call


def bare(name, tmp_path):
    """What the script makes of the parameters without nndiag."""
    runpy.run_path(name, run_name="__main__")
    return np.load(tmp_path / "w.npy").tobytes()


WAYS = {
    "decorated": "step = jax.jit(step)",
    "by partial": """
import functools
step = functools.partial(jax.jit, donate_argnums=0)(step)
""",
    "with a static argument": """
inner = step
@jax.jit
def step(w, x): return inner(w, x)
@__import__("functools").partial(jax.jit, static_argnames="n")
def many(w, x, n):
    for _ in range(n): w, value = inner(w, x)
    return w, value
step = lambda w, x: many(w, x=x, n=1)
""",
    "a method": """
class Model:
    def __init__(self): self.rate = 0.1
    @__import__("functools").partial(jax.jit, static_argnums=0)
    def step(self, w, x): return step_(w, x)
step_ = step
step = Model().step
""",
    "ahead of time": "step = jax.jit(step).lower(w, X).compile()",
    "the gradient alone": """
grad = jax.jit(jax.value_and_grad(loss))
def step(w, x):
    value, g = grad(w, x)
    return w - 0.1 * g, value
""",
    "scanned": """
inner = step
@jax.jit
def step(w, x):
    w, values = jax.lax.scan(lambda w, x: inner(w, x), w, x.reshape(4, 4, 3))
    return w, values.mean()
""",
    "checkpointed, with a loop": """
@jax.jit
def step(w, x):
    def loss(w):
        body = jax.checkpoint(lambda h, _: (jnp.tanh(h @ (w.T @ w)), None))
        h, _ = jax.lax.scan(body, x @ w, None, length=3)
        return jnp.mean(h ** 2)
    value, g = jax.value_and_grad(loss)(w)
    return jax.lax.cond(value > 0, lambda: w - 0.1 * g, lambda: w), value
""",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_step_is_watched_however_it_is_jitted(script, run, tmp_path, way):
    name = script(WAYS[way] + LOOP)
    expected = bare(name, tmp_path)
    answer, path = run(name)
    assert answer.code == 0, answer.err
    assert (tmp_path / "w.npy").read_bytes().endswith(expected)
    stored = read(path)
    assert len(stored.steps) == 12
    assert stored.recorded.tolist() == [0, 5, 10]
    assert stored.readings
    assert "was called 12 times; 3 of the calls were recorded" in answer.err


def test_the_loss_is_known_of_steps_that_are_not_recorded(script, run):
    name = script(
        "step = jax.jit(step)\nlosses = []"
        + LOOP.replace(
            "w, value = step(w, X)",
            "w, value = step(w, X); losses.append(float(value))",
        )
        + "np.save('losses.npy', losses)"
    )
    _, path = run(name)
    np.testing.assert_array_equal(np.float32(read(path).loss), np.load("losses.npy"))


def test_output_arguments_random_numbers_and_exit_code_are_the_scripts_own(
    script, run, tmp_path
):
    name = script("""
@jax.jit
def train(w, x):
    print("traced", np.random.rand())
    return step(w, x)
np.random.seed(3)
import os
os.mkdir("elsewhere"); os.chdir("elsewhere")
for i in range(6):
    w, value = train(w, X)
print(sys.argv[1:], __name__, np.random.rand(), float(value))
sys.exit(7)
""")
    plain = subprocess.run(
        [sys.executable, name, "--lr", "3"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    (tmp_path / "elsewhere").rmdir()
    answer, path = run(name, "--", "--lr", "3")
    assert (answer.code, plain.returncode) == (7, 7)
    assert answer.out == plain.stdout
    assert "['--lr', '3'] __main__" in answer.out
    assert read(path).status == "finished"


def test_a_warning_is_not_given_anew_at_each_recorded_call(script, run, recwarn):
    name = script("""
import warnings
warnings.simplefilter("default")
step = jax.jit(step)
for _ in range(12):
    w, value = step(w, X)
    warnings.warn("slow")
""")
    answer, _ = run(name, every="2")
    assert answer.code == 0
    # once, and once more after JAX has compiled the bare program
    shown = sum("slow" in str(given.message) for given in recwarn)
    assert shown + answer.err.count("UserWarning: slow") <= 2


def test_json_comes_alone_on_standard_output(script, run):
    answer, _ = run(script("step = jax.jit(step)" + LOOP + "print('mine')"), "--json")
    assert json.loads(answer.out)["verdict"]["level"] == "healthy"
    assert "mine" in answer.err


def test_a_script_that_raises_is_reported_with_its_own_traceback(script, run):
    answer, path = run(script("step = jax.jit(step)" + LOOP + "raise KeyError('lost')"))
    assert answer.code == 1
    assert "KeyError: 'lost'" in answer.err and "train.py" in answer.err
    assert "runpy" not in answer.err and "scripting.py" not in answer.err
    assert read(path).status == "failed"
    assert len(read(path).steps) == 12


def test_ctrl_c_in_a_script_is_reported_too(script, run):
    answer, path = run(
        script("step = jax.jit(step)" + LOOP + "raise KeyboardInterrupt")
    )
    assert answer.code == 130
    assert read(path).status == "interrupted"


UNSEEN = {
    "takes no gradient": ("jax.jit(loss)(w, X)", "took no gradient"),
    "takes it un-jitted": (LOOP, "12 gradients were taken outside"),
    "disables jit": (
        "step = jax.jit(step)\nwith jax.disable_jit():" + LOOP.replace("\n", "\n "),
        "disable_jit was on",
    ),
}


@pytest.mark.parametrize("why", UNSEEN)
def test_what_could_not_be_watched_is_said_in_one_sentence(script, run, why):
    body, words = UNSEEN[why]
    answer, path = run(script(body))
    assert answer.code == 0
    assert words in answer.err
    assert len(answer.err.strip().splitlines()) == 1
    assert not path.exists()


def test_gradients_in_a_thread_and_two_steps_are_both_watched(script, run, tmp_path):
    answer, path = run(
        script("""
import threading
first = jax.jit(step)
second = jax.jit(lambda w, x: step(2 * w, x))
def train(step):
    v = w
    for _ in range(6):
        v, _ = step(v, X)
train(first)
threading.Thread(target=train, args=(second,)).start()
""")
    )
    assert answer.code == 0
    assert len(read(path).steps) == 6
    (other,) = tmp_path.glob("run-*")
    assert len(read(other).steps) == 6


def test_another_shape_is_watched_as_well(script, run):
    name = script("step = jax.jit(step)" + LOOP + "w, value = step(w, X[:3])")
    answer, path = run(name, every="1")
    assert answer.code == 0
    assert len(read(path).recorded) == 13


def test_a_module_runs_as_with_python_m(script, nndiag, tmp_path):
    script("step = jax.jit(step)" + LOOP + "print(sys.argv)", "__main__.py")
    (tmp_path / "package").mkdir()
    (tmp_path / "__main__.py").rename(tmp_path / "package" / "__main__.py")
    answer = nndiag("run", "--dpi", "30", "--out", "run", "-m", "package", "--", "a")
    assert answer.code == 0, answer.err
    assert "'a']" in answer.out
    assert len(read(tmp_path / "run").steps) == 12


def test_a_process_that_leaves_at_once_or_forks_is_closed_first(script, tmp_path):
    name = script(
        """
import os
step = jax.jit(step)
w, value = step(w, X)
child = os.fork()
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
"""
        + LOOP
        + "os._exit(4)"
    )
    command = [
        sys.executable,
        "-m",
        "nndiag",
        "run",
        "--out",
        "run",
        "--dpi",
        "30",
        name,
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 4, done.stderr
    assert len(read(tmp_path / "run").steps) == 13
    assert done.stderr.count("was called 13 times") == 1


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["missing.py"], "there is no file missing.py"),
        (["-m", "no_such_module"], "there is no module 'no_such_module'"),
        (["train.py", "--preset", "relu"], "--preset is for targets"),
        (["mnist_model:target", "--", "more"], "is an argument for a script"),
    ],
)
def test_bad_input_is_one_line_and_2(script, nndiag, words, part):
    script(LOOP)
    answer = nndiag("run", *words)
    assert answer.code == 2
    assert part in answer.err
    assert len(answer.err.strip().splitlines()) == 1
