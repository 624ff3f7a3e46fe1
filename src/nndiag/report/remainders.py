"""The Taylor test as a picture."""

from __future__ import annotations

import numpy as np

from nndiag.records.gradcheck import Taylor
from nndiag.report.picture import Remainders
from nndiag.report.units import number


def remainders(taylor: Taylor, name: str) -> Remainders | None:
    """How |f(x + hv) − f(x) − h·g·v| falls with h.

    Args:
        taylor: as measured.
        name: of the picture.

    Returns:
        `None` if fewer than two remainders are positive: nothing to draw on a
        logarithmic scale.
    """
    steps, values = np.asarray(taylor.steps), np.asarray(taylor.remainders)
    kept = np.isfinite(values) & (values > 0) & (steps > 0)
    if np.count_nonzero(kept) < 2:
        return None
    steps, values = steps[kept], values[kept]
    order = f"order {taylor.order:.2f}" if taylor.order == taylor.order else "no order"
    return Remainders(
        name=name,
        title="Remainder of the linear approximation",
        hint="It falls with slope 2 if the gradient is right, with slope 1 if not.",
        alternative=f"The remainder falls from {number(float(values[0]))} at step "
        f"{number(float(steps[0]))} to {number(float(values[-1]))} at step "
        f"{number(float(steps[-1]))}: {order}.",
        steps=steps,
        values=values,
        order=taylor.order,
    )
