"""`nndiag gradcheck`: functions, saved arguments, targets and the bundled model."""

import json

import numpy as np
import pytest

MODEL = """
import jax, jax.numpy as jnp, numpy as np

def loss(params, batch):
    x, y = batch
    return jnp.mean((jnp.tanh(x @ params["w"] + params["b"]) - y) ** 2)

def backprop(params, batch):
    x, y = batch
    a = np.tanh(x @ params["w"] + params["b"])
    d = 2 * (a - y) / len(y) * (1 - a**2)
    return {"w": x.T @ d, "b": d.sum(0)}

def summed(params, batch):
    right = backprop(params, batch)
    return {"w": 8 * right["w"], "b": right["b"]}

def vector(params, batch):
    return params["b"]

def count(params, batch):
    return 3

def flat(params, batch):
    return [1.0, 2.0, 3.0]

def kinked(x):
    return jnp.abs(x).sum()

def pole(w):
    return jnp.sqrt(w - w).sum()

def whole(n):
    return n * 2

def lonely(x):
    return x.sum()

def failing(params, batch):
    raise RuntimeError("no backprop today")

number = 3

def example_arguments():
    draw = np.random.default_rng(0).normal
    return {"w": draw(size=(4, 1)), "b": draw(size=1)}, (
        draw(size=(8, 4)), draw(size=(8, 1)))
"""

TARGET = """
import jax, jax.numpy as jnp, nndiag, optax

@jax.custom_vjp
def square(x):
    return x * x

square.defvjp(lambda x: (square(x), x), lambda x, g: (3 * x * g,))

def loss(w, x):
    return square(x @ w).mean()

parts = dict(
    init=lambda key: jax.random.normal(key, (3,)),
    optimizer=optax.sgd(0.1),
    data=jnp.arange(24.0).reshape(8, 3),
    batch_size=4,
)
target = nndiag.target(loss=lambda w, x: jnp.square(x @ w).mean(), **parts)
faulty = nndiag.target(loss=loss, **parts)

class Bare:
    init = staticmethod(target.init)
    train_step = staticmethod(target.train_step)
    epoch = staticmethod(target.epoch)

bare = Bare()
"""


@pytest.fixture
def model(tmp_path):
    file = tmp_path / "gradcheck_model.py"
    file.write_text(MODEL)
    return file


@pytest.fixture
def targets(tmp_path):
    file = tmp_path / "gradcheck_targets.py"
    file.write_text(TARGET)
    return file


@pytest.fixture
def saved(tmp_path):
    draw = np.random.default_rng(1).normal
    arrays = {
        "params.w": draw(size=(4, 1)),
        "params/b": draw(size=1),
        "batch/0": draw(size=(8, 4)),
        "batch/1": draw(size=(8, 1)),
    }

    def save(**changes):
        path = tmp_path / "saved.npz"
        kept = {**arrays, **changes}
        np.savez(path, **{k: v for k, v in kept.items() if v is not None})
        return str(path)

    return save


def test_a_right_gradient_ends_with_0(nndiag, model):
    answer = nndiag("gradcheck", f"{model}:loss")
    assert answer.code == 0, answer
    assert "The gradient of loss is right" in answer.out
    assert "params['w']" in answer.out


def test_a_right_gradient_by_hand_ends_with_0(nndiag, model):
    words = ("gradcheck", f"{model}:loss", "--gradient", f"{model}:backprop")
    answer = nndiag(*words, "--argnums", "0")
    assert answer.code == 0, answer


def test_a_wrong_gradient_ends_with_1_and_names_its_leaf(nndiag, model):
    words = ("gradcheck", f"{model}:loss", "--gradient", f"{model}:summed")
    answer = nndiag(*words, "--argnums", "0", "--json")
    assert answer.code == 1, answer
    (check,) = json.loads(answer.out)["checks"]
    verdicts = {leaf["path"]: leaf["verdict"] for leaf in check["leaves"]}
    assert verdicts["params['w']"] == "wrong"
    assert verdicts["params['b']"] == "right"
    shown = nndiag(*words, "--argnums", "0")
    assert shown.code == 1
    assert shown.out.rstrip().endswith("nndiag explain ND501")


def test_the_arguments_come_from_a_file_with_dictionaries_and_lists(
    nndiag, model, saved
):
    words = ("gradcheck", f"{model}:loss", "--gradient", f"{model}:backprop")
    answer = nndiag(*words, "--argnums", "0", "--at", saved())
    assert answer.code == 0, answer


def test_what_cannot_be_decided_ends_with_0_and_says_so(nndiag, model, tmp_path):
    at = tmp_path / "kink.npz"
    np.savez(at, x=np.asarray([1.0, 0.0, -2.0]))
    answer = nndiag("gradcheck", f"{model}:kinked", "--at", str(at))
    assert answer.code == 0, answer
    assert "not decided in 1 of 1 leaf" in answer.out
    assert "[1]" in answer.out


def test_a_target_is_checked_at_its_first_batch(nndiag, targets):
    answer = nndiag("gradcheck", f"{targets}:target", "--json")
    assert answer.code == 0, answer
    (check,) = json.loads(answer.out)["checks"]
    assert check["function"] == f"{targets}:target"
    shapes = [leaf["shape"] for leaf in check["leaves"] if leaf["verdict"] == "right"]
    assert shapes == [[3]]


def test_the_guilty_rule_of_a_target_is_named_with_its_line(nndiag, targets):
    line = next(
        number
        for number, text in enumerate(TARGET.splitlines(), start=1)
        if "3 * x * g" in text
    )
    answer = nndiag("gradcheck", f"{targets}:faulty", "--json")
    assert answer.code == 1, answer
    (check,) = json.loads(answer.out)["checks"]
    assert check["rule"]["kind"] == "custom_vjp"
    assert check["rule"]["line"] == line
    assert check["rule"]["file"].endswith("gradcheck_targets.py")


def test_the_page_is_written_beside_pictures_and_json_and_never_over_anything(
    nndiag, model, tmp_path
):
    out = tmp_path / "check"
    words = ("gradcheck", f"{model}:loss", "--gradient", f"{model}:summed")
    answer = nndiag(*words, "--argnums", "0", "--out", str(out))
    assert answer.code == 1, answer
    page = out / "gradcheck.html"
    assert f"Report: {page}" in answer.out
    assert "is wrong in 1 of 2 leaves" in page.read_text()
    assert json.loads((out / "gradcheck.json").read_text())["ok"] is False
    assert list((out / "figures").glob("*.png"))
    before = page.stat().st_mtime_ns
    again = nndiag(*words, "--argnums", "0", "--out", str(out))
    assert again.code == 2
    assert "exists; choose another directory" in again.err
    assert page.stat().st_mtime_ns == before


def test_without_a_word_the_bundled_model_is_checked(nndiag):
    answer = nndiag("gradcheck", "--json")
    assert answer.code == 0, answer
    checks = json.loads(answer.out)["checks"]
    names = [check["function"] for check in checks]
    assert {"mlp, sigmoid", "mlp, relu", "mlp, softplus", "cnn, relu"} <= set(names)
    for check in checks:
        leaves = [leaf for leaf in check["leaves"] if leaf["verdict"] != "skipped"]
        assert len(leaves) == (8 if check["function"].startswith("cnn") else 6)
        assert check["ok"] is True, check["function"]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["nowhere:loss"], ["no module 'nowhere'"]),
        (["MODEL:lass"], ["has no 'lass'", "did you mean 'loss'"]),
        (["MODEL:loss", "--gradient", "MODEL:bakprop"], ["did you mean 'backprop'"]),
        (["MODEL:loss", "--gradient", "MODEL:number"], ["is not a function"]),
        (["MODEL:loss", "--at", "missing.npz"], ["there is no file missing.npz"]),
        (["MODEL:loss", "--set", "depth=3"], ["--set is for targets"]),
        (["MODEL:loss", "--argnums", "w"], ["--argnums is 'w'", "0,2"]),
        (["MODEL:loss", "--argnums", "7"], ["7"]),
        (["MODEL:loss", "--order", "3"], ["--order is 3"]),
        (["MODEL:loss", "--gradient", "MODEL:failing"], ["no backprop today"]),
        (["MODEL:vector"], ["one number", "(1,)"]),
        (["TARGETS:target", "--at", "x.npz"], ["--at is for functions"]),
        (["TARGETS:target", "--preset", "x"], ["no presets"]),
        (["TARGETS:bare"], ["has no loss(params, batch)"]),
        (["MODEL:number"], ["no target"]),
    ],
)
def test_bad_input_is_one_line_and_2(nndiag, model, targets, words, parts):
    places = {"MODEL": str(model), "TARGETS": str(targets)}
    for short, place in places.items():
        words = [word.replace(short, place) for word in words]
    answer = nndiag("gradcheck", *words)
    assert answer.code == 2, answer
    assert len(answer.err.strip().splitlines()) == 1
    assert "unexpected" not in answer.err
    for part in parts:
        assert part in answer.err


def test_a_gradient_of_another_structure_is_shown_beside_the_right_one(nndiag, model):
    words = ("gradcheck", f"{model}:loss", "--gradient", f"{model}:flat")
    answer = nndiag(*words, "--argnums", "0")
    assert answer.code == 2, answer
    said, heads, *rows = answer.err.strip("\n").splitlines()
    assert "does not have the structure of the arguments" in said
    assert heads.split()[:2] == ["arguments", "what"]
    assert "'b'" in rows[0] and "'w'" in rows[1] and "[" in rows[0]


def test_a_file_that_lacks_an_array_says_which_and_what_it_has(nndiag, model, saved):
    at = saved(**{"batch/0": None, "batch/1": None, "bach": np.ones(3)})
    answer = nndiag("gradcheck", f"{model}:loss", "--at", at)
    assert answer.code == 2
    for part in ("no batch", "takes no bach", "params/w 4×1", "bach 3"):
        assert part in answer.err


def test_arrays_of_shapes_that_do_not_fit_are_named_with_them(nndiag, model, saved):
    at = saved(**{"params.w": np.ones((5, 1))})
    answer = nndiag("gradcheck", f"{model}:loss", "--at", at)
    assert answer.code == 2
    assert len(answer.err.strip().splitlines()) == 1
    assert "5×1" in answer.err and "8×4" in answer.err


def test_a_pickle_in_the_file_is_refused_unread(nndiag, model, tmp_path):
    at = tmp_path / "hostile.npz"

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    np.savez(at, params=np.asarray([Bomb()], dtype=object))
    answer = nndiag("gradcheck", f"{model}:loss", "--at", str(at))
    assert answer.code == 2
    assert "no .npz file of plain arrays" in answer.err
    assert not (tmp_path / "exploded").exists()


def test_a_function_without_arguments_says_where_they_could_come_from(nndiag, tmp_path):
    file = tmp_path / "gradcheck_lonely.py"
    file.write_text("def lonely(x):\n    return x.sum()\n")
    answer = nndiag("gradcheck", f"{file}:lonely")
    assert answer.code == 2
    assert "lonely(x) needs arguments" in answer.err
    assert "--at" in answer.err and "example_arguments" in answer.err


def test_whole_numbers_have_no_gradient(nndiag, model, tmp_path):
    at = tmp_path / "whole.npz"
    np.savez(at, n=np.asarray(3))
    answer = nndiag("gradcheck", f"{model}:whole", "--at", str(at))
    assert answer.code == 2
    assert "no floating-point argument" in answer.err


def test_a_point_that_is_not_finite_is_handed_to_the_autopsy(nndiag, model, tmp_path):
    at = tmp_path / "pole.npz"
    np.savez(at, w=np.asarray([np.nan, 1.0]))
    answer = nndiag("gradcheck", f"{model}:pole", "--at", str(at))
    assert answer.code == 2
    assert "nan" in answer.err.lower()
