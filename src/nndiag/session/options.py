"""What a run is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nndiag.probes import Level

PARTS = ("saturation", "gradients", "updates", "overflow")
"""What can be watched beside the loss, the gradient norms and the finite guard."""

MORE = ("histograms", "units", "examples")
"""What the level ``"full"`` adds to them."""

LEVELS: dict[str, tuple[str, ...]] = {
    "light": (),
    "standard": PARTS,
    "full": (*PARTS, *MORE),
}
"""The parts of each level."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of `nndiag run`.

    Attributes:
        target: import string of the target.
        preset: name of one of the target's presets.
        changes: settings to change, by name.
        data: where the target's data are, given to its `data` setting.
        tier: the name of the level (see `LEVELS`).
        parts: what to watch (see `PARTS`); empty for all that the level has.
        include: patterns of the places to measure; empty for all.
        exclude: patterns of places not to measure.
        every: one step in `every` is recorded.
        epochs: number of epochs; `None` for the target's own `settings.epochs`, or 1.
        steps: stop after so many steps; `None` for whole epochs.
        seed: of the run's random key.
        out: the run directory; `None` for a new one under ``reports/``.
        debug_nans: turn `jax_debug_nans` on, and keep it working.
        dpi: resolution of the PNG pictures.
    """

    target: str = "mnist_model:target"
    preset: str | None = None
    changes: Mapping[str, str] = field(default_factory=dict[str, str])
    data: str | None = None
    tier: str = "standard"
    parts: frozenset[str] = frozenset()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    every: int = 10
    epochs: int | None = None
    steps: int | None = None
    seed: int = 0
    out: Path | None = None
    debug_nans: bool = False
    dpi: int = 150

    def __post_init__(self) -> None:
        """Checks the numbers."""
        from nndiag.errors import SettingError

        for name in ("every", "epochs", "steps", "dpi"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingError(f"--{name} is {value}; it must be at least 1")
        if self.tier not in LEVELS:
            raise SettingError(f"--level is {self.tier!r}; choose {', '.join(LEVELS)}")
        if self.parts and self.tier != "standard":
            raise SettingError(
                f"--level {self.tier} says what is watched, and so do the --watch "
                "options; give one of them"
            )
        unknown = self.parts - set(PARTS)
        if unknown:
            raise SettingError(
                f"unknown part {sorted(unknown)[0]!r}; watch {', '.join(PARTS)}"
            )

    @property
    def watched(self) -> tuple[str, ...]:
        """The parts that are watched."""
        parts = LEVELS[self.tier]
        return tuple(part for part in parts if not self.parts or part in self.parts)

    @property
    def level(self) -> Level:
        """What is measured on a recorded step."""
        parts = {part: True for part in self.watched}
        return Level(**parts, include=self.include, exclude=self.exclude)
