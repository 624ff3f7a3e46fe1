"""What a rule found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from nndiag.notebook import Shown
from nndiag.records.autopsy import Autopsy
from nndiag.records.site import Site

Severity = Literal["info", "warning", "error"]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One number behind a finding, beside the threshold it was held against.

    Attributes:
        quantity: what was measured, in words with its unit.
        value: the number.
        threshold: the bound it crossed, `None` for context that decides nothing.
        source: where the threshold comes from.
    """

    quantity: str
    value: float
    threshold: float | None = None
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Finding(Shown):
    """A verdict: what is wrong, where, when, why, how sure, and what to try.

    Attributes:
        code: such as ``"ND201"``; its page is ``nndiag explain ND201``.
        name: of the disease, such as ``"vanishing_gradient"``.
        title: the verdict as one sentence, with its decisive number.
        severity: ``"info"``, ``"warning"`` or ``"error"``.
        confidence: 0 to 1: how far the evidence is beyond the threshold, and how
            steadily.
        sites: the places concerned, in forward order.
        first_step: first recorded step at which it held.
        last_step: last recorded step at which it held.
        evidence: the numbers.
        cause: why, as measured, in a sentence or two.
        remedies: what to try, most promising first.
        picture: name of the figure that proves it (``"saturation"``, ``"gradient"``,
            ``"profile"``, ``"update"``, ``"headroom"``, ``"distribution"``,
            ``"loss"``).
        symptoms: findings of the same chain that this one leads: what it explains,
            or what contributes to it.
        autopsy: the replay that located it, if there was one.
    """

    code: str
    name: str
    title: str
    severity: Severity
    confidence: float
    sites: tuple[Site, ...]
    first_step: int
    last_step: int
    evidence: tuple[Evidence, ...]
    cause: str
    remedies: tuple[str, ...]
    picture: str
    symptoms: tuple[Finding, ...] = field(default=())
    autopsy: Autopsy | None = None
