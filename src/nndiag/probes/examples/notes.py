"""What the norms of the parts of examples leave out, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from nndiag.probes.examples.norms import can_be_added
from nndiag.probes.examples.uses import Use

NO_AXIS = (
    "nndiag found no axis of examples that the parameters meet, so it measures no "
    "gradient norms of single examples"
)


def notes(
    names: Sequence[str],
    uses: Mapping[int, Sequence[Use]],
    unreadable: Mapping[str, set[int]],
    mixing: bool,
) -> Iterator[str]:
    """One sentence for each thing that people must know.

    Args:
        names: of the parameters.
        uses: of each parameter.
        unreadable: by operation, the parameters that meet data in it, to no avail.
        mixing: whether examples reach the loss through one another.
    """
    if unreadable:
        parts = [
            f"{_some(sorted(names[leaf] for leaf in leaves))} in {operation}"
            for operation, leaves in sorted(unreadable.items())
        ]
        yield (
            "the gradient norms of single examples that nndiag measures leave out "
            + "; ".join(parts)
        )
    doubtful = [
        names[leaf]
        for leaf, own in uses.items()
        if len(own) > 1 and not can_be_added(own)
    ]
    if doubtful:
        yield (
            "in the gradient norms of single examples nndiag takes the uses of "
            f"{_some(doubtful)} as if they were different parameters"
        )
    if mixing:
        yield (
            "the loss mixes examples (as batch normalisation does): of each one, "
            "nndiag measures the part of the gradient that flows through its row"
        )


def _some(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
