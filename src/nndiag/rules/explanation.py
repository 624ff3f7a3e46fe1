"""The documentation page of a finding."""

from __future__ import annotations

import difflib

from nndiag.errors import SettingError
from nndiag.rules import (
    forward_reverse_mismatch,
    gradient_mismatch,
    nondifferentiable_point,
    rule_failed,
)
from nndiag.rules.catalogue import CATALOGUE, heading

_PAGES_ALONE = (
    rule_failed,
    gradient_mismatch,
    nondifferentiable_point,
    forward_reverse_mismatch,
)
"""Findings that no rule on a run makes."""

PAGES: dict[str, str] = dict(
    sorted(
        (heading(page)[0], page)
        for page in (
            *(module.__doc__ or "" for module in _PAGES_ALONE),
            *(rule.page for rule in CATALOGUE),
        )
    )
)
"""Code to page, Markdown, by code."""


def explain(code: str) -> str:
    """The page of a finding, by its code or name, in either case.

    Raises:
        SettingError: if there is no such finding; the message suggests near ones.

    Example:
        >>> explain("nd201").splitlines()[0]
        '# ND201 vanishing_gradient'
        >>> explain("dead_unit")
        Traceback (most recent call last):
            ...
        nndiag.errors.SettingError: There is no finding 'dead_unit'. Did you mean \
ND102 (dead_units)?
    """
    names = {heading(page)[1]: known for known, page in PAGES.items()}
    wanted = code.strip()
    known = names.get(wanted.lower(), wanted.upper())
    if known in PAGES:
        return PAGES[known]
    near = difflib.get_close_matches(wanted.lower(), names, n=2) or [
        heading(PAGES[match])[1]
        for match in difflib.get_close_matches(wanted.upper(), PAGES, n=2)
    ]
    suggestions = " or ".join(f"{names[name]} ({name})" for name in near)
    hint = f"Did you mean {suggestions}?" if near else f"Known: {', '.join(PAGES)}."
    raise SettingError(f"There is no finding {code!r}. {hint}")
