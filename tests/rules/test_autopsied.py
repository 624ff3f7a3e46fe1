"""ND401 and ND404 where a replay knows the equation."""

import dataclasses
import math

import numpy as np
import pytest

from nndiag.records import Operand
from nndiag.rules import diagnose, masked_nonfinite, nonfinite_value
from nndiag.rules.autopsied import is_code


@pytest.fixture
def trap(autopsy):
    """sqrt at 0: its slope is Inf, and 0·Inf is NaN in the backward pass."""
    cell = {"dtype": "float32", "shape": (4,), "low": 0.0, "high": 1.0}
    zero = Operand(**cell, values=(0.0,))
    slope = Operand(**cell, infs=1, values=(math.inf,))
    common = {"elements": ((2,),), "count": 1, "line": 7, "scope": "", "source": ""}
    origin = autopsy(
        **common,
        primitive="div",
        direction="backward",
        operands=(Operand(**cell, values=(0.5,)), zero),
        result=slope,
        reaches_output=True,
    )
    return autopsy(
        **common,
        kind="nan",
        primitive="mul",
        direction="backward",
        operands=(zero, slope),
        result=Operand(**cell, nans=1, values=(math.nan,)),
        reaches_output=True,
        output="['w']",
        origin=origin,
        cause="The slope of sqrt at 0 is Inf, and 0·Inf is NaN",
        rewrite="y = jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0)",
    )


def one(rule, run):
    (finding,) = rule.examine(run)
    return finding


def replayed(run, step, found):
    loss = np.where(run.steps >= step, np.nan, run.loss)
    return dataclasses.replace(
        run, loss=loss, finite=run.recorded < step, autopsies={step: found}
    )


def test_the_finding_says_line_number_reason_and_rewrite(build, trap):
    finding = one(nonfinite_value, replayed(build(), 137, trap))
    assert finding.title == (
        "The loss is NaN at step 137: div in the gradient of train.py:7 made Inf of "
        "0.5 and 0, and mul made NaN of that."
    )
    assert finding.cause == "The slope of sqrt at 0 is Inf, and 0·Inf is NaN."
    assert finding.remedies == (f"Write `{trap.rewrite}` at train.py:7 instead.",)
    numbers = [(e.quantity, e.value) for e in finding.evidence[:3]]
    assert numbers == [
        ("operand 1 of div at [2], float32", 0.5),
        ("operand 2 of div at [2], float32", 0.0),
        ("elements that became Inf there", 1),
    ]
    assert finding.autopsy is trap
    assert (finding.first_step, finding.last_step) == (137, 299)
    assert finding.severity == "error"


def test_it_is_found_where_the_guard_kept_every_number_finite(build, trap):
    run = dataclasses.replace(build(), autopsies={41: trap})
    finding = one(nonfinite_value, run)
    assert (finding.first_step, finding.last_step) == (41, 41)
    assert finding.severity == "error"
    assert finding.title.startswith("A gradient or parameter is NaN or infinite at")


def test_a_replay_of_another_step_is_told_as_that(build, trap):
    run = replayed(build(), 137, trap)
    late = dataclasses.replace(run, autopsies={150: trap})
    assert one(nonfinite_value, late).title.endswith("(step 150 replayed).")


def test_a_bad_argument_is_named_with_its_element(build, autopsy):
    value = Operand(dtype="float32", shape=(4,), low=0.0, high=1.0, nans=1)
    found = autopsy(
        kind="nan",
        primitive="input",
        argument="params['w']",
        file="",
        line=0,
        column=0,
        source="",
        operands=(),
        result=value,
        reaches_output=True,
        cause="",
        rewrite="",
    )
    finding = one(nonfinite_value, replayed(build(), 137, found))
    assert "params['w'] already held NaN at [3]." in finding.title
    assert finding.cause == "params['w'] already held NaN at [3]."
    # no rewrite is known: what the readings say stands
    assert len(finding.remedies) >= 1 and "Write" not in finding.remedies[0]


def test_what_only_the_compiled_program_does_is_said(build, trap):
    compiled = dataclasses.replace(trap, compiler=True)
    finding = one(nonfinite_value, replayed(build(), 137, compiled))
    assert "only the compiled program fails" in finding.cause


def test_without_values_the_range_stands_in(build, autopsy, trap):
    (operand,) = autopsy().operands
    blind = dataclasses.replace(operand, values=())
    found = autopsy(operands=(blind,), reaches_output=True)
    title = one(nonfinite_value, replayed(build(), 137, found)).title
    assert "made Inf of values from -2 to 300 in float16" in title


def test_the_healthy_scope_is_where_it_happened(build, autopsy):
    run = dataclasses.replace(build(), autopsies={100: autopsy()})
    finding = one(masked_nonfinite, run)
    assert finding.sites and {site.scope for site in finding.sites} == {"hidden_2"}
    assert finding.title == (
        "At step 100 square at train.py:12 made Inf of 300 in float16, and no output "
        "shows it."
    )
    assert finding.severity == "warning"


def test_what_reaches_the_output_is_not_hidden(build, autopsy):
    run = dataclasses.replace(build(), autopsies={5: autopsy(reaches_output=True)})
    assert list(masked_nonfinite.examine(run)) == []
    hidden = dataclasses.replace(run, autopsies={5: autopsy()})
    assert list(nonfinite_value.examine(hidden)) == []


def test_both_are_told_of_a_run_that_has_both(build, autopsy, trap):
    run = replayed(build(), 137, trap)
    run = dataclasses.replace(run, autopsies={9: autopsy(), **run.autopsies})
    codes = [finding.code for finding in diagnose(run)]
    assert codes[:1] == ["ND401"] and "ND404" in codes


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("return -jnp.mean(jax.nn.log_softmax(z)[y])", True),
        ("safe = jnp.where(x > 0, x, 1.0)\ny = jnp.log(safe)", True),
        ("if jnp.isfinite(x):", True),
        ("with jax.numpy_dtype_promotion('standard'):", True),
        ("x", False),
        ("Lower the learning rate.", False),
        ("jnp.log1p(x) instead of jnp.log(1 + x)", False),
        ("", False),
        ("x" * 3_000 + " = 1", False),
        ("(" * 1_500, False),
        ("\0", False),
        ("re = '\\d'", True),
    ],
)
def test_code_is_told_from_words(text, code):
    assert is_code(text) is code


@pytest.mark.parametrize("text", ["-" * 1_900 + "1", "a." * 900, "[" * 90 + "]" * 90])
def test_deep_text_breaks_nothing(text):
    assert is_code(text) in (True, False)
