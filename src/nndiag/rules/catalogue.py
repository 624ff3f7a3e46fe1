"""All rules, in the order of their codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import cast

from nndiag.records import Finding, Run
from nndiag.rules import (
    attention_collapse,
    dead_debug_nans,
    dead_units,
    diverging_loss,
    exploding_gradient,
    input_scale,
    masked_nonfinite,
    near_overflow,
    nonfinite_value,
    replicas_diverge,
    residual_imbalance,
    saturated_activation,
    signal_collapse,
    untrained_rows,
    update_too_large,
    update_too_small,
    vanishing_gradient,
    wrong_initial_loss,
)

Examine = Callable[[Run], Iterator[Finding]]


@dataclass(frozen=True)
class Rule:
    """One disease.

    Attributes:
        code: such as ``"ND201"``.
        name: such as ``"vanishing_gradient"``.
        page: its documentation, Markdown.
        examine: yields what it found in a run, nothing on a healthy one.
    """

    code: str
    name: str
    page: str
    examine: Examine


def heading(page: str) -> tuple[str, str]:
    """Code and name from the first line of a page.

    Example:
        >>> heading("# ND201 vanishing_gradient")
        ('ND201', 'vanishing_gradient')
    """
    code, name = page.splitlines()[0].removeprefix("# ").split()
    return code, name


def _rule(module: ModuleType) -> Rule:
    page = module.__doc__ or ""
    return Rule(*heading(page), page, cast(Examine, module.examine))


CATALOGUE: tuple[Rule, ...] = tuple(
    _rule(module)
    for module in (
        saturated_activation,
        dead_units,
        signal_collapse,
        attention_collapse,
        residual_imbalance,
        vanishing_gradient,
        exploding_gradient,
        update_too_small,
        update_too_large,
        untrained_rows,
        replicas_diverge,
        wrong_initial_loss,
        diverging_loss,
        nonfinite_value,
        near_overflow,
        masked_nonfinite,
        dead_debug_nans,
        input_scale,
    )
)
"""Every rule, by code."""
