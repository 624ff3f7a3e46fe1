"""Scans in a loss: over layers, each a place of its own, or over something else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from nndiag.jaxprs import compat
from nndiag.jaxprs.location import join
from nndiag.probes.facts import Fact
from nndiag.records import INDEX, Axis


@dataclass(eq=False)
class Loop:
    """A scan in the loss.

    Attributes:
        length: number of its iterations.
        layers: whether it scans over trained weights: each iteration is a layer then.
        prefix: what the names of these weights have in common, as a path.
        reverse: whether the last layer is the first to run.
        span: how far the survey's order advances in one iteration, once it is known.
    """

    length: int
    layers: bool
    prefix: str = ""
    reverse: bool = False
    span: int = 0

    @property
    def axis(self) -> Axis:
        """The axis that readings from inside have for it."""
        span = -self.span if self.reverse else self.span
        return Axis(self.length if self.layers else 0, span)

    @property
    def shift(self) -> int:
        """How much later than the survey met it the layer 0 runs."""
        return self.span * (self.length - 1) if self.layers and self.reverse else 0


class Surroundings(NamedTuple):
    """Where a body stands.

    Attributes:
        scope: of the equation that holds it; of a layer, with `INDEX` for its number.
        loops: the scans around it, outermost first.
    """

    scope: str = ""
    loops: tuple[Loop, ...] = ()

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes that readings from inside have."""
        return tuple(loop.axis for loop in self.loops)

    @property
    def shift(self) -> int:
        """How much later in the program the layers 0 run than the survey met them."""
        return sum(loop.shift for loop in self.loops)


def scanned_leaves(
    equation: Any, operands: Sequence[Fact]
) -> dict[int, tuple[int, ...] | None]:
    """The trained leaves that a scan slices, and the shape of what it slices.

    The shape is `None` of what was made of several leaves, or put in another order.
    """
    first = sum(compat.scan_split(equation))
    found: dict[int, tuple[int, ...] | None] = {}
    for atom, fact in zip(equation.invars[first:], operands[first:], strict=True):
        if fact.weight and fact.trained:
            known = len(fact.leaves) == 1 and not fact.moved
            shape = atom.aval.shape if known else None
            found |= dict.fromkeys(fact.leaves, shape)
    return found


def enter(
    equation: Any, leaves: Sequence[str], others: Sequence[str], around: Surroundings
) -> Surroundings:
    """The surroundings within the body of a scan.

    Args:
        equation: the scan.
        leaves: names of the trained leaves that it scans over.
        others: names of all other leaves.
        around: where the scan stands, with its own scope.
    """
    length, reverse = equation.params["length"], equation.params["reverse"]
    if not leaves:
        return Surroundings(around.scope, (*around.loops, Loop(length, False)))
    loop = Loop(length, True, _stem(around.scope, leaves, others), reverse)
    outer = next((x for x in reversed(around.loops) if x.layers), None)
    prefix = loop.prefix
    if outer is not None and _begins(prefix, outer.prefix):
        prefix = prefix[len(outer.prefix) :].strip("/")
    scope = _overlapped(around.scope, prefix.removeprefix(_COLLECTION)) or "layer"
    return Surroundings(scope + INDEX, (*around.loops, loop))


def indexed(name: str, loops: Sequence[Loop]) -> str:
    """The name of a leaf that is scanned over, with `INDEX` for each layer number.

    Example:
        >>> indexed("blocks/mlp/w", [Loop(8, True, "blocks")])
        'blocks[*]/mlp/w'
        >>> indexed("w", [Loop(8, True, "")])
        'w[*]'
    """
    # An inner scan is over a longer path: from the back, places stay where they are.
    for loop in reversed(loops):
        end = len(loop.prefix or name)
        name = f"{name[:end]}{INDEX}{name[end:]}"
    return name


def common_path(names: Sequence[str]) -> str:
    """The longest path that all names begin with; of one name, what stands before it.

    Example:
        >>> common_path(["blocks/mlp/w", "blocks/norm/scale"])
        'blocks'
        >>> common_path(["blocks/w"]), common_path(["w"])
        ('blocks', 'w')
    """
    if len(names) == 1:
        return names[0].rpartition("/")[0] or names[0]
    parts = [name.split("/") for name in names]
    same: list[str] = []
    for column in zip(*parts, strict=False):
        if len(set(column)) > 1:
            break
        same.append(column[0])
    return "/".join(same)


def _begins(name: str, prefix: str) -> bool:
    return f"{name}/".startswith(f"{prefix}/")


_COLLECTION = "params/"
"""Flax calls so what holds all parameters."""


def _stem(scope: str, leaves: Sequence[str], others: Sequence[str]) -> str:
    """The path of the tree whose leaves are scanned over.

    It ends with what the scope ends with, or else holds as much as can be: of a block
    with one layer in it, all leaves begin with the layer, too.
    """
    path, last = common_path(leaves), scope.rpartition("/")[2]
    parts = path.split("/")
    if last in parts:
        return "/".join(parts[: parts.index(last) + 1])
    while (above := path.rpartition("/")[0]) and f"{above}/" != _COLLECTION:
        if any(_begins(other, above) for other in others):
            break
        path = above
    return path


def _overlapped(scope: str, path: str) -> str:
    """`scope` and then `path`, less what the one ends and the other begins with."""
    outer, inner = scope.split("/"), path.split("/")
    for size in range(min(len(outer), len(inner)), 0, -1):
        if outer[-size:] == inner[:size]:
            return join(scope, "/".join(inner[size:]))
    return join(scope, path)
