"""What a gradient check found, as findings."""

from __future__ import annotations

from collections.abc import Sequence

from nndiag.records import Duality, Evidence, Finding, GuiltyRule, LeafCheck, WrongCause

_MISMATCH_REMEDIES = (
    "correct the gradient where the check points; compare that element by hand",
    "or drop the hand-written gradient and let jax.grad differentiate the function",
)
_KINK_REMEDIES = (
    "leave it so, if the point is exceptional: check at another one",
    "for a kink that training meets often, use a smooth function in its place",
)


def describe(
    leaves: Sequence[LeafCheck],
    duality: Duality | None,
    rule: GuiltyRule | None,
    cause: WrongCause | None,
) -> tuple[Finding, ...]:
    """ND501, ND502 and ND503 as far as they hold."""
    found = [
        _mismatch([leaf for leaf in leaves if leaf.verdict == "wrong"], rule, cause),
        _undecided([leaf for leaf in leaves if _cannot_be(leaf)]),
        _modes(duality),
    ]
    return tuple(finding for finding in found if finding is not None)


def _cannot_be(leaf: LeafCheck) -> bool:
    """Whether a kink, a jump or a cut keeps a leaf undecided, and not noise."""
    return (
        leaf.verdict == "undecided" and "too little to decide" not in leaf.explanation
    )


def _mismatch(
    wrong: list[LeafCheck], rule: GuiltyRule | None, cause: WrongCause | None
) -> Finding | None:
    if not wrong:
        return None
    worst = max(
        wrong, key=lambda leaf: leaf.largest_error / max(leaf.error_bound, 1e-300)
    )
    where = (
        f"{worst.path}{list(worst.worst_index)}" if worst.worst_index else worst.path
    )
    others = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    causes = [leaf.explanation for leaf in wrong if leaf.explanation]
    if cause is not None:
        causes = [cause.text]
    if rule is not None:
        place = f" at {rule.file}:{rule.line}" if rule.file else ""
        causes.insert(
            0, f"the {rule.kind} rule of {rule.name}{place}: {rule.explanation}"
        )
    elements = worst.wrong[:1]
    evidence = [
        Evidence(
            quantity=f"|gradient − derivative| at {where}",
            value=worst.largest_error,
            threshold=worst.error_bound,
            source=f"measured error of the derivative by {worst.method} in float64",
        ),
        *(Evidence(quantity="gradient there", value=c.given) for c in elements),
        *(Evidence(quantity="derivative there", value=c.expected) for c in elements),
    ]
    return Finding(
        code="ND501",
        name="gradient_mismatch",
        title=(
            f"The gradient by {worst.path}{others} is not the derivative: it is off by "
            f"{worst.largest_error:.3g}, and at most {worst.error_bound:.2g} is "
            "uncertain."
        ),
        severity="error",
        confidence=1.0,
        sites=(),
        first_step=0,
        last_step=0,
        evidence=tuple(evidence),
        cause="; ".join(causes),
        remedies=_MISMATCH_REMEDIES,
        picture="",
    )


def _undecided(leaves: list[LeafCheck]) -> Finding | None:
    if not leaves:
        return None
    paths = ", ".join(leaf.path for leaf in leaves)
    count = sum(len(leaf.kinks) for leaf in leaves)
    reasons = dict.fromkeys(leaf.explanation for leaf in leaves)
    return Finding(
        code="ND502",
        name="nondifferentiable_point",
        title=f"The derivative by {paths} cannot be decided at this point.",
        severity="info",
        confidence=1.0,
        sites=(),
        first_step=0,
        last_step=0,
        evidence=(Evidence(quantity="elements found on a kink", value=float(count)),),
        cause="; ".join(reasons),
        remedies=_KINK_REMEDIES,
        picture="",
    )


def _modes(duality: Duality | None) -> Finding | None:
    if duality is None or duality.agree is not False:
        return None
    return Finding(
        code="ND503",
        name="forward_reverse_mismatch",
        title=(
            f"Forward mode gives {duality.forward:.6g} and reverse mode "
            f"{duality.reverse:.6g} along the same direction."
        ),
        severity="error",
        confidence=1.0,
        sites=(),
        first_step=0,
        last_step=0,
        evidence=(
            Evidence(
                quantity="|u·(Jv) − (Jᵀu)·v|",
                value=abs(duality.forward - duality.reverse),
                threshold=duality.bound,
                source="64 times what rounding in float64 moves either, measured",
            ),
        ),
        cause="A transpose rule, or one of two custom rules, is wrong.",
        remedies=("give the function one custom_jvp rule; JAX derives the other mode",),
        picture="",
    )
