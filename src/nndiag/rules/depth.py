"""How a quantity runs through the depth of the network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import compress

import numpy as np

from nndiag.records import Floats, Role, Run, Site
from nndiag.rules.measures import was_measured
from nndiag.rules.thresholds import DEPTH_LAYERS


@dataclass(frozen=True)
class Profile:
    """Norms of a derivative from the first layer to the last.

    Attributes:
        sites: the places, in forward order.
        norms: shape (sites, R).
        ratio: first layer over last layer at each recorded step, shape (R,); NaN
            where not measured, or where the last layer has none.
    """

    sites: tuple[Site, ...]
    norms: Floats
    ratio: Floats

    @property
    def hops(self) -> int:
        """Layers between the first and the last."""
        return len(self.sites) - 1

    def per_layer(self, ratio: float) -> float:
        """The factor by which each layer multiplies, as a geometric mean."""
        return ratio ** (1 / self.hops)


def gradient_profile(run: Run) -> Profile | None:
    """The gradient through depth, by activation, else by weight matrix.

    Initialisers of fan-in keep the norm of a cotangent from layer to layer, those of
    fan-out keep its root mean square; where widths differ the two ratios do, and the
    one nearer to 1 counts.

    Returns:
        `None` where fewer than three layers were measured.
    """
    measured, norms = _measured(run, "cotangent", "activation")
    if not measured:
        measured, norms = _measured(run, "gradient", "parameter")
    if len(measured) < DEPTH_LAYERS:
        return None
    sizes = [max(math.prod(site.shape), 1) for site in (measured[0], measured[-1])]
    usable = np.isfinite(norms).all(axis=0) & (norms[-1] > 0)
    ratio = np.full(run.recorded.shape, np.nan)
    ratio[usable] = norms[0, usable] / norms[-1, usable]
    mean_square = ratio * math.sqrt(sizes[1] / sizes[0])
    return Profile(measured, norms, nearer_to_one(ratio, mean_square))


def _measured(run: Run, role: Role, kind: str) -> tuple[tuple[Site, ...], Floats]:
    """The sites of two axes or more with a norm, and their norms, (sites, R)."""
    sites = [site for site in run.of_kind(kind) if len(site.shape) >= 2]
    norms = run.stacked(role, "norm", sites)
    known = was_measured(norms)
    return tuple(compress(sites, known)), norms[known]


def nearer_to_one(a: Floats, b: Floats) -> Floats:
    """Element by element, the ratio of smaller |log|; 1 where they straddle 1."""
    shrink = np.where((a < 1) & (b < 1), np.maximum(a, b), 1.0)
    nearer = np.where((a > 1) & (b > 1), np.minimum(a, b), shrink)
    return np.where(np.isnan(a), np.nan, nearer)
