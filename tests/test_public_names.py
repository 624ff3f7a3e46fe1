"""The public surface: what stands here is promised to users."""

import inspect

import nndiag

PUBLIC = [
    "Guarded",
    "autopsy",
    "check_grads",
    "explain",
    "guard",
    "load",
    "record",
    "tap",
    "target",
    "value_and_grad",
    "watch",
]


def test_the_public_names_are_these():
    assert nndiag.__all__ == PUBLIC


def test_each_public_name_is_there_and_documented():
    for name in PUBLIC:
        assert inspect.getdoc(getattr(nndiag, name)), name


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(nndiag, "wacth")


def test_first_arguments_are_positional_and_the_rest_is_named():
    def kinds(function):
        return {
            p.name: p.kind.name for p in inspect.signature(function).parameters.values()
        }

    assert kinds(nndiag.watch) == {
        "fn": "POSITIONAL_OR_KEYWORD",
        "level": "KEYWORD_ONLY",
        "include": "KEYWORD_ONLY",
        "exclude": "KEYWORD_ONLY",
    }
    assert kinds(nndiag.record) == {
        "path": "POSITIONAL_OR_KEYWORD",
        "every": "KEYWORD_ONLY",
    }
    assert kinds(nndiag.guard) == {"step": "POSITIONAL_OR_KEYWORD"}
    assert kinds(nndiag.autopsy) == {
        "fn": "POSITIONAL_OR_KEYWORD",
        "args": "VAR_POSITIONAL",
        "look_for": "KEYWORD_ONLY",
        "ignore_masked": "KEYWORD_ONLY",
        "kwargs": "VAR_KEYWORD",
    }
    assert set(kinds(nndiag.target).values()) == {"KEYWORD_ONLY"}
