"""How rules write numbers and places in their sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nndiag.records import Run, Site

_MANY = 24
"""More places than these are counted, not named."""


def number(value: float) -> str:
    """Two or three significant digits, without piles of zeros.

    Example:
        >>> number(0.000712), number(0.25), number(79.4), number(8.1e12)
        ('7.1e-4', '0.25', '79', '8.1e12')
    """
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    if not 1e-2 <= abs(value) < 1e5:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.3g}"


def precise(value: float) -> str:
    """Up to six significant digits: a number that stands beside the limit it crossed.

    Example:
        >>> precise(88.7228391), precise(65520.0), precise(1e30), precise(-math.inf)
        ('88.7228', '65520', '1e30', '-Inf')
    """
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Inf" if value > 0 else "-Inf")
    mantissa, _, exponent = f"{value:.6g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def percent(share: float) -> str:
    """A share of 1 in whole percent.

    Example:
        >>> percent(0.618), percent(0.003)
        ('62 %', '0.3 %')
    """
    fine = 0 < share < 0.01
    return f"{100 * share:.1f} %" if fine else f"{100 * share:.0f} %"


def name(site: Site) -> str:
    """The layer of an activation, or the key of any other site."""
    return site.scope if site.kind == "activation" and site.scope else str(site)


def places(run: Run, sites: Sequence[Site], worst: Site | None = None) -> str:
    """The sites in words: a range where they follow each other without a gap.

    Of a run with many such places, it is told how many they are, and the worst of them.

    Args:
        run: where they are.
        sites: the places, in forward order.
        worst: one of them; the first, if nothing else is known.

    Example:
        "hidden_1 to hidden_6", "hidden_1 and hidden_4", "hidden_1/w and 5 more",
        "12 of 384 layers (worst: blocks[3]/mlp)"
    """
    names = list(dict.fromkeys(name(site) for site in sites))
    peers = run.of_kind(sites[0].kind)
    start = peers.index(sites[0])
    if len(names) > 2 and peers[start : start + len(sites)] == tuple(sites):
        return f"{names[0]} to {names[-1]}"
    if len(names) > 3 and len(peers) > _MANY:
        noun = "layers" if sites[0].kind == "activation" else f"{sites[0].kind}s"
        chosen = f"worst: {name(worst)}" if worst else f"the first: {names[0]}"
        return f"{len(sites):,} of {len(peers):,} {noun} ({chosen})"
    if len(names) > 3:
        return f"{names[0]} and {len(names) - 1} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
