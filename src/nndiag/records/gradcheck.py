"""What a gradient check found: leaf by leaf, with the evidence apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from nndiag.records.finding import Finding

Correctness = Literal["right", "wrong", "undecided", "skipped"]
Method = Literal["differences", "complex step"]


@dataclass(frozen=True, kw_only=True)
class Coordinate:
    """One element of a gradient, held against the derivative.

    Attributes:
        index: of the element in its leaf.
        given: the gradient's value.
        expected: the derivative, as measured.
        bound: how far `expected` may be off, as measured.
    """

    index: tuple[int, ...]
    given: float
    expected: float
    bound: float


@dataclass(frozen=True, kw_only=True)
class LeafCheck:
    """The gradient with respect to one leaf of the arguments.

    Attributes:
        path: of the leaf, by parameter name (``"params['w']"``).
        shape: of the leaf.
        dtype: of the leaf.
        verdict: ``"right"``, ``"wrong"``, ``"undecided"`` (a kink, or noise larger than
            the difference), or ``"skipped"`` (an integer, a boolean, no elements).
        norm: Euclidean norm of the gradient given.
        largest_error: largest |given − derivative| that was measured.
        error_bound: error that could not have been seen: the measured uncertainty of
            the derivative where it is largest.
        worst_index: element with the largest error, `None` if none was looked at alone.
        explanation: in words, why the verdict is what it is, and for a wrong leaf what
            its gradient is instead ("128 times the derivative"), ``""`` if right.
        wrong: the elements found wrong, worst first, 16 at most.
        kinks: the elements at which a one-sided derivative differs, 16 at most.
        errors: relative error of each element looked at, NaN for the others, in the
            shape of the leaf; `None` if the leaf was only checked as a whole.
        method: how the derivative was measured: central differences, or, where the
            function is analytic and they bore it out, a complex step, in which no
            digits cancel.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    verdict: Correctness
    norm: float
    largest_error: float
    error_bound: float
    worst_index: tuple[int, ...] | None = None
    explanation: str = ""
    wrong: tuple[Coordinate, ...] = ()
    kinks: tuple[tuple[int, ...], ...] = ()
    errors: Any = field(default=None, compare=False, repr=False)
    method: Method = "differences"


@dataclass(frozen=True, kw_only=True)
class Duality:
    """Forward mode against reverse mode: u·(Jv) by jvp and (Jᵀu)·v by vjp.

    Attributes:
        forward: u·(Jv).
        reverse: (Jᵀu)·v.
        bound: difference that rounding alone can make.
        agree: whether they do, `None` where one of the two modes does not exist
            (a `custom_vjp` has no jvp).
        note: why there is no answer, ``""`` if there is.
    """

    forward: float
    reverse: float
    bound: float
    agree: bool | None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Taylor:
    """Remainders |f(x + hv) − f(x) − h·g·v| over steps h.

    Attributes:
        steps: the h, decreasing.
        remainders: one for each step.
        order: slope of the log–log fit over the steps above rounding; 2 for a right
            gradient of a curved function, 1 for a wrong one; NaN if nothing is left
            above rounding (a linear function).
    """

    steps: tuple[float, ...]
    remainders: tuple[float, ...]
    order: float


@dataclass(frozen=True, kw_only=True)
class GuiltyRule:
    """A custom derivative rule that is not the derivative of its function.

    Attributes:
        name: of the function that has the rule.
        file: of the rule, ``""`` if unknown.
        line: of the rule, 0 if unknown.
        kind: ``"custom_vjp"`` or ``"custom_jvp"``.
        explanation: what is wrong with it, with the numbers.
    """

    name: str
    file: str
    line: int
    kind: Literal["custom_vjp", "custom_jvp"]
    explanation: str


@dataclass(frozen=True, kw_only=True)
class WrongCause:
    """The one thing that explains all wrong leaves of a gradient written by hand.

    Attributes:
        text: in a sentence, with the numbers.
        file: of the guilty line, ``""`` if none is known.
        line: the guilty line, 0 if none is known.
    """

    text: str
    file: str = ""
    line: int = 0


@dataclass(frozen=True, kw_only=True)
class GradCheck:
    """Whether gradients are right, and if not, where.

    Attributes:
        ok: `True` if all leaves are right, `False` if one is wrong, `None` if none is
            wrong and one could not be decided.
        function: name of the function.
        leaves: one for each leaf of the arguments.
        forward_reverse: forward mode against reverse mode, `None` if not asked for.
        taylor: the remainders.
        hessian: largest asymmetry of the Hessian and error of its products, relative;
            `None` at first order.
        rule: the guilty custom rule, `None` if there is none.
        cause: what explains the wrong leaves of a gradient written by hand, `None` if
            no single cause does.
        findings: ND501, ND502, ND503 as far as they hold.
        evaluations: of the function, in all.
        notes: what was assumed or could not be done.
    """

    ok: bool | None
    function: str
    leaves: tuple[LeafCheck, ...]
    forward_reverse: Duality | None = None
    taylor: Taylor | None = None
    hessian: float | None = None
    rule: GuiltyRule | None = None
    cause: WrongCause | None = None
    findings: tuple[Finding, ...] = ()
    evaluations: int = 0
    notes: tuple[str, ...] = ()

    @property
    def taylor_order(self) -> float:
        """Order of the Taylor remainder, NaN if it is not known."""
        return float("nan") if self.taylor is None else self.taylor.order
