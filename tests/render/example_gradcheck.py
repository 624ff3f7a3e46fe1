"""Gradient checks made by hand, as records: a renderer must not care who measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nndiag.records import Evidence, Finding
from nndiag.records.gradcheck import (
    Coordinate,
    Duality,
    GradCheck,
    GuiltyRule,
    LeafCheck,
    Taylor,
)

STEPS = tuple(10.0**-exponent for exponent in range(1, 9))


def leaf(path: str, shape: tuple[int, ...] = (16,), **how: object) -> LeafCheck:
    """A leaf that is right, unless `how` says otherwise."""
    plain = LeafCheck(
        path=path,
        shape=shape,
        dtype="float32",
        verdict="right",
        norm=0.25,
        largest_error=3.1e-9,
        error_bound=4.0e-8,
    )
    return replace(plain, **how)  # type: ignore[arg-type]


def flipped(path: str = "params['hidden']['weight']") -> LeafCheck:
    """A matrix whose third row has the wrong sign."""
    errors = np.full((12, 8), 2e-9)
    errors[2] = 2.0
    errors[9:] = np.nan
    return leaf(
        path,
        (12, 8),
        verdict="wrong",
        norm=1.5,
        largest_error=0.84,
        worst_index=(2, 5),
        explanation="8 of 96 elements have the opposite sign: they are −1 times the "
        "derivative.",
        wrong=tuple(
            Coordinate(
                index=(2, column),
                given=0.42 - column / 100,
                expected=column / 100 - 0.42,
                bound=3e-9,
            )
            for column in range(8)
        ),
        errors=errors,
    )


def kinked() -> LeafCheck:
    """A vector with two elements on a kink."""
    return leaf(
        "params['hidden']['bias']",
        verdict="undecided",
        largest_error=0.5,
        worst_index=(3,),
        explanation="The derivatives from the left and from the right differ.",
        kinks=((3,), (11,)),
    )


def right() -> GradCheck:
    """A check without a fault."""
    return GradCheck(
        ok=True,
        function="loss",
        leaves=(leaf("params['weight']", (4, 8)), leaf("params['scale']", ())),
        forward_reverse=Duality(forward=1.25, reverse=1.25, bound=1e-7, agree=True),
        taylor=Taylor(
            steps=STEPS,
            remainders=tuple(0.3 * h**2 + 1e-16 for h in STEPS),
            order=2.0,
        ),
        evaluations=214,
    )


def wrong() -> GradCheck:
    """A check with a sign error, a kink, an integer leaf and a guilty rule."""
    finding = Finding(
        code="ND501",
        name="gradient_mismatch",
        title="The gradient of loss is not its derivative.",
        severity="error",
        confidence=0.99,
        sites=(),
        first_step=0,
        last_step=0,
        evidence=(Evidence(quantity="largest error", value=0.84, threshold=3e-9),),
        cause="The rule of swish returns the wrong sign.",
        remedies=("Change the sign of what the rule returns.",),
        picture="",
    )
    return GradCheck(
        ok=False,
        function="loss",
        leaves=(
            leaf("params['output']['weight']", (8, 10)),
            kinked(),
            flipped(),
            leaf("params['steps']", (), dtype="int32", verdict="skipped"),
        ),
        forward_reverse=Duality(
            forward=float("nan"),
            reverse=0.5,
            bound=1e-7,
            agree=None,
            note="swish has a custom_vjp, so there is no jvp",
        ),
        taylor=Taylor(
            steps=STEPS,
            remainders=tuple(0.3 * h**2 + 0.05 * h for h in STEPS),
            order=1.02,
        ),
        rule=GuiltyRule(
            name="swish",
            file="model.py",
            line=41,
            kind="custom_vjp",
            explanation="It returns −1 times the derivative of swish.",
        ),
        findings=(finding,),
        evaluations=318,
        notes=("params['steps'] is an integer: it has no gradient.",),
    )


def crowded() -> GradCheck:
    """A model of a hundred leaves, three of them wrong, with a long path."""
    bad = tuple(
        replace(flipped(f"params['block_{i}']['attention']['query']['kernel']"))
        for i in (3, 40, 77)
    )
    good = tuple(leaf(f"params['block_{i}']['norm']['scale']") for i in range(97))
    return replace(wrong(), leaves=good + bad)


def disagreeing() -> GradCheck:
    """Every leaf is right, but the two modes differ."""
    duality = Duality(forward=1.25, reverse=-1.25, bound=1e-7, agree=False)
    return replace(right(), ok=False, forward_reverse=duality)


def undecided() -> GradCheck:
    """A check at a kink."""
    return replace(right(), ok=None, leaves=(kinked(), leaf("params['weight']")))


ALL = {
    "right": right,
    "wrong": wrong,
    "crowded": crowded,
    "disagreeing": disagreeing,
    "undecided": undecided,
}
