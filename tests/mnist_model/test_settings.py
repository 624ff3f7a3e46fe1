"""Knobs, presets and the target's offer of both."""

import dataclasses
from pathlib import Path

import pytest

import mnist_model
from mnist_model import PRESETS, Classifier, Settings, SettingsError


def test_text_is_converted_to_the_type_of_the_field():
    changed = mnist_model.target.with_settings(
        depth="6", learning_rate="0.1", activation="gelu", data=Path("somewhere")
    ).settings
    assert (changed.depth, changed.learning_rate) == (6, 0.1)
    assert (changed.activation, changed.data) == ("gelu", "somewhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rat": 1}, "setting 'learning_rat' is unknown; .*'learning_rate'"),
        ({"activation": "rely"}, "activation='rely' is unknown; .*'relu'"),
        ({"depth": "six"}, "depth='six' is not a whole number of at least 0"),
        ({"depth": 2.5}, "depth=2.5 is not a whole number"),
        ({"depth": "2.5"}, "depth='2.5' is not a whole number"),
        ({"depth": True}, "depth=True is not a whole number"),
        ({"depth": None}, "depth=None is not a whole number"),
        ({"width": 0}, "width=0 is not a whole number of at least 1"),
        ({"learning_rate": "-1"}, "learning_rate='-1' is not a number of at least 0"),
        ({"learning_rate": "nan"}, "learning_rate='nan' is not a number"),
        ({"learning_rate": "inf"}, "learning_rate='inf' is not a number"),
        ({"momentum": 1}, "momentum=1 is not a number of at least 0 and below 1"),
        ({"data": 3}, "data=3 is not a path"),
        ({"loss": ["squared"]}, "loss=.* is unknown"),
    ],
)
def test_a_bad_change_is_one_line_that_names_it(change, message):
    with pytest.raises(SettingsError, match=message) as caught:
        mnist_model.target.with_settings(**change)
    assert "\n" not in str(caught.value)


def test_a_settings_error_is_a_value_error():
    with pytest.raises(ValueError, match="optimizer"):
        Settings(optimizer="adams")


def test_settings_are_frozen_and_changes_leave_the_original():
    target = mnist_model.target
    assert target.with_settings(depth=1).settings != target.settings
    with pytest.raises(dataclasses.FrozenInstanceError):
        target.settings.depth = 1


@pytest.mark.parametrize("name", PRESETS)
def test_the_settings_of_a_preset_rebuild_it(name):
    offered = mnist_model.target.presets[name]
    assert set(offered) == {knob.name for knob in dataclasses.fields(Settings)}
    assert mnist_model.target.with_settings(**offered) == Classifier(PRESETS[name])


def test_the_first_preset_is_the_default():
    assert list(PRESETS) == ["deep-sigmoid", "blog", "relu", "tanh", "cnn"]
    assert mnist_model.target.settings == PRESETS["deep-sigmoid"]


def test_the_front_door_is_pinned():
    assert mnist_model.__all__ == [
        "PRESETS",
        "Classifier",
        "DataError",
        "Settings",
        "SettingsError",
        "target",
    ]
