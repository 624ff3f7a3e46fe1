"""What was read off the marks of a program, and how it becomes `Readings`."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nndiag.jaxprs.marks import next_call
from nndiag.probes.examples.norms import Parts, norms
from nndiag.probes.examples.uses import Use
from nndiag.probes.later import Later
from nndiag.probes.statistics import is_finite
from nndiag.records import ROLES, Readings, Site, TensorStats

Key = tuple[int, Site]
"""A site of one gradient call; two networks in a step may name theirs alike."""


class Harvest(NamedTuple):
    """What was read off the marks so far; a pytree.

    Attributes:
        stats: role to key to statistics.
        losses: the differentiated scalars, by number of the gradient call.
        finite: whether loss, gradients and updates are, bools for each part read; but
            for the gradients that are held, whose norm may be read anew.
        gradients: the gradient arrays themselves, as long as an update may need them.
        examples: of each place where a parameter meets the examples of a batch, what
            the norms of their parts in the gradient are made of.
    """

    stats: dict[str, dict[Key, TensorStats]]
    losses: dict[int, Any]
    finite: list[Any]
    gradients: dict[Key, Any]
    examples: dict[tuple[int, Use], Parts]

    @staticmethod
    def empty() -> Harvest:
        """Nothing yet."""
        return Harvest({role: {} for role in ROLES}, {}, [], {}, {})

    def add(self, other: Harvest) -> dict[int, int]:
        """Takes in what was read inside a body.

        Returns:
            New numbers for the calls that were there already: a jitted function that
            takes a gradient may be called twice.
        """
        taken = {c for role in other.stats for c, _ in self._again(role, other)}
        fresh = {call: next_call() for call in sorted(taken)}
        for role, readings in other.stats.items():
            for (call, site), stats in readings.items():
                self.stats[role][fresh.get(call, call), site] = stats
        for call, loss in other.losses.items():
            self.losses[fresh.get(call, call)] = loss
        for (call, site), gradient in other.gradients.items():
            self.gradients[fresh.get(call, call), site] = gradient
        for (call, use), parts in other.examples.items():
            self.examples[fresh.get(call, call), use] = parts
        self.finite.extend(other.finite)
        return fresh

    def take(self, other: Harvest) -> None:
        """Takes in what was read at one mark of this body."""
        for role, readings in other.stats.items():
            for key, stats in readings.items():
                self.put(role, key, stats)
        for call, loss in other.losses.items():
            self.losses.setdefault(call, loss)
        self.examples.update(other.examples)
        self.finite.extend(other.finite)

    def put(self, role: str, key: Key, stats: TensorStats) -> None:
        """Adds one reading; what is computed a second time keeps its first reading."""
        self.stats[role].setdefault(key, stats)

    def refine(self, key: Key, norms: dict[str, Later]) -> None:
        """Takes norms by role in the place of those that nobody has used yet."""
        for role, norm in norms.items():
            stats = self.stats[role].get(key)
            if stats is not None and isinstance(stats.norm, Later):
                self.stats[role][key] = stats._replace(norm=norm)

    def read_first(self, key: Key, gradient: Any) -> Any:
        """The gradient, to be used once its norm is read.

        The update can then be made in its place; otherwise XLA may keep it until the
        end of the step.
        """
        stats = self.stats["gradient"].get(key)
        if stats is None or not isinstance(stats.norm, Later):
            return gradient
        both = gradient, stats.norm.operands
        gradient, squares = jax.lax.optimization_barrier(both)
        norm = Later(squares, stats.norm.function)
        self.stats["gradient"][key] = stats._replace(norm=norm)
        return gradient

    def let_go(self) -> None:
        """Holds the gradients no longer."""
        self.finite.extend(_held_finite(self))
        self.gradients.clear()

    def _again(self, role: str, other: Harvest) -> set[Key]:
        return self.stats[role].keys() & other.stats[role].keys()


def all_finite(harvest: Harvest) -> Any:
    """One bool: whether all that was read, in all iterations, is finite."""
    found = [*harvest.finite, *_held_finite(harvest)]
    parts = [jnp.ravel(part).astype(bool) for part in found]
    return jnp.concatenate(parts).all() if parts else jnp.asarray(True)


def _held_finite(harvest: Harvest) -> list[Any]:
    gradients = harvest.stats["gradient"]
    return [is_finite(gradients[key]) for key in harvest.gradients]


def readings(harvest: Harvest) -> Readings:
    """The harvest as people see it: keyed by sites alone, with unique names."""
    keys = {key for role in harvest.stats.values() for key in role}
    sites = _unique(keys)
    named = {
        role: {sites[key]: stats for key, stats in read.items()}
        for role, read in harvest.stats.items()
    }
    first = min(harvest.losses, default=None)
    parts = {use: own for (call, use), own in harvest.examples.items() if call == first}
    return Readings(
        loss=None if first is None else harvest.losses[first],
        finite=all_finite(harvest).astype(jnp.float32),
        examples=norms(parts) if parts else None,
        **named,
    )


def _unique(keys: set[Key]) -> dict[Key, Site]:
    """A site for each key; equal names of later gradient calls get a number."""
    used: Counter[str] = Counter()
    sites: dict[Key, Site] = {}
    for call, site in sorted(keys, key=lambda key: (key[0], str(key[1]))):
        used[site] += 1
        name = str(site) if used[site] == 1 else f"{site}#{used[site]}"
        sites[call, site] = Site(name, **vars(site))
    return sites
