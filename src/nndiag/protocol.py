"""What a model offers, so that every nndiag command works on it.

Any object or module with these attributes is a target; there is no base class, and a
target need never have heard of nndiag.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

REQUIRED = ("init", "train_step")
"""The attributes every target has, beside `epoch` or `batches`."""


@runtime_checkable
class Target(Protocol):
    """What every target has. `Any` stands for pytrees of arrays.

    Beside these, a target has one of

    - ``epoch(key) -> pytree`` of arrays stacked ``[steps, batch, …]``: one epoch,
      scanned on the device;
    - ``batches(key) -> iterator`` of batches: one epoch, fed from the host;

    and may have

    - ``loss(params, batch) -> scalar``;
    - ``evaluate(state) -> dict[str, float]``: held-out metrics;
    - ``settings``, a frozen dataclass of knobs, and
      ``with_settings(**changes) -> Target``;
    - ``presets``, a mapping from a name to settings for ``with_settings``.
    """

    def init(self, key: Any) -> Any:
        """A new state: a pytree."""
        ...

    def train_step(self, state: Any, batch: Any) -> tuple[Any, dict[str, Any]]:
        """The next state, and metrics; ``metrics["loss"]`` is a scalar."""
        ...
