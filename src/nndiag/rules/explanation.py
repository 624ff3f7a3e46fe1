"""The documentation page of a finding."""

from __future__ import annotations

import difflib

from nndiag.errors import SettingError
from nndiag.rules import rule_failed
from nndiag.rules.catalogue import CATALOGUE, heading

PAGES: dict[str, str] = {
    heading(page)[0]: page
    for page in (rule_failed.__doc__ or "", *(rule.page for rule in CATALOGUE))
}
"""Code to page, Markdown."""


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
