"""How much is measured, and where: the cost tiers."""

from __future__ import annotations

from typing import NamedTuple

from nndiag.errors import SettingError


class Level(NamedTuple):
    """What is measured beside the loss, the gradient norms and the finite guard.

    Attributes:
        saturation: statistics of activations.
        gradients: more of gradients and cotangents than their norm.
        updates: norms of parameters and updates, and the cosine between update and
            negative gradient.
        overflow: largest magnitudes, for headroom.
        histograms: of gradients and updates, over the powers of two.
        units: statistics of each unit of an activation.
        examples: the norm of the part that each example has in the gradient.
        include: patterns of the places that are measured (see
            `nndiag.probes.selection`); empty for all.
        exclude: patterns of those of them that are not.
    """

    saturation: bool = False
    gradients: bool = False
    updates: bool = False
    overflow: bool = False
    histograms: bool = False
    units: bool = False
    examples: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


LEVELS = {
    "light": Level(),
    "standard": Level(True, True, True, True),
    "full": Level(True, True, True, True, True, True, True),
}


def level_of(name: str | Level) -> Level:
    """The level called `name`.

    Raises:
        SettingError: there is no such level.
    """
    if isinstance(name, Level):
        return name
    if name not in LEVELS:
        raise SettingError(f"unknown level {name!r}; use one of {', '.join(LEVELS)}")
    return LEVELS[name]
