"""Which places are measured can be chosen by patterns of their names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nndiag
from nndiag.errors import SettingError
from nndiag.probes import watch
from nndiag.records import ROLES


def step(params, x):
    def loss(p):
        h = x
        for name in ("first", "second"):
            with jax.named_scope(name):
                h = jnp.tanh(h @ p[name]["w"] + p[name]["b"])
        return jnp.square(h).mean()

    value, gradient = jax.value_and_grad(loss)(params)
    return jax.tree.map(lambda w, g: w - g, params, gradient), value


PARAMS = {
    name: {"w": jnp.eye(3) / 2, "b": jnp.zeros(3)} for name in ("first", "second")
}
X = jnp.ones((4, 3))


def places(**options):
    (after, _), readings = jax.jit(watch(step, **options))(PARAMS, X)
    bare = jax.jit(step)(PARAMS, X)[0]
    for ours, theirs in zip(jax.tree.leaves(after), jax.tree.leaves(bare), strict=True):
        assert np.array_equal(ours, theirs)
    return {str(site) for role in ROLES for site in getattr(readings, role)}


SECOND = {"second/w", "second/b", "second/tanh"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"include": ["second"]}, SECOND),
        ({"include": ["sec*"]}, SECOND),
        ({"include": ["second/"]}, SECOND),
        ({"include": ["second"], "exclude": ["*/b"]}, {"second/w", "second/tanh"}),
        ({"exclude": ["first", "second", "input"]}, set()),
        ({"include": ["*/tanh", "first/w"]}, {"first/tanh", "second/tanh", "first/w"}),
    ],
)
def test_patterns_choose_places_and_change_no_bit(options, expected) -> None:
    assert places(**options) == expected


def test_a_scope_is_no_prefix_of_letters() -> None:
    with pytest.raises(SettingError, match=r"'fir' matches no place.*first/tanh"):
        places(include=["fir"])


def test_a_pattern_of_no_use_is_named_also_where_others_match() -> None:
    with pytest.raises(SettingError, match="exclude 'third'"):
        places(include=["first"], exclude=["third"])


@pytest.mark.parametrize("wrong", ["first", [3]])
def test_patterns_are_a_list_of_strings(wrong) -> None:
    with pytest.raises(SettingError, match="give a list of patterns"):
        watch(step, include=wrong)


def test_signs_in_a_pattern_mean_themselves() -> None:
    with pytest.raises(SettingError, match="matches no place"):
        places(include=["f.rst"])


def scanned(p, x):
    def loss(p):
        body = lambda x, w: (jnp.tanh(x @ w["w"]), None)  # noqa: E731
        return jnp.square(jax.lax.scan(body, x, p["blocks"])[0]).mean() + p["b"] ** 2

    return jax.grad(loss)(p)


@pytest.mark.parametrize("pattern", ["blocks[3]", "blocks[*]", "blocks*", "*/tanh"])
def test_one_layer_of_a_scan_stands_for_all(pattern) -> None:
    p = {"blocks": {"w": jnp.ones((5, 3, 3))}, "b": jnp.ones(())}
    _, readings = jax.jit(watch(scanned, include=[pattern]))(p, X)
    assert set(readings.value) == {"blocks[*]/tanh"}
    assert "b" not in readings.gradient


def test_a_recorded_run_holds_what_was_chosen(tmp_path) -> None:
    watched = jax.jit(watch(step, include=["second/tanh"]))
    params = PARAMS
    with nndiag.record(tmp_path / "run") as run:
        for number in range(3):
            (params, loss), readings = watched(params, X)
            run.log(number, readings, {"loss": loss})
    stored = nndiag.load(tmp_path / "run")
    assert [str(site) for site in stored.sites] == ["second/tanh"]
    assert stored.recorded.tolist() == [0, 1, 2]
    run.publish()
