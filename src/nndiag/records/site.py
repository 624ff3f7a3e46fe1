"""A place in the watched program."""

from __future__ import annotations

from typing import Literal, Self

SiteKind = Literal["input", "activation", "logits", "parameter", "tap", "operation"]


class Site(str):
    """A place in the watched program: its own key, with what and where attached.

    A `Site` is the string that names it (``"hidden_2/sigmoid"``), so dictionaries
    keyed by sites are pytrees with stable string keys that are looked up by plain
    strings. As the keys are static structure under `jax.jit`, the attributes travel
    out of a compiled function without being arrays.

    Attributes:
        kind: ``"input"`` (what the first parametrised operation reads),
            ``"activation"``, ``"logits"`` (what the softmax of the loss reads),
            ``"parameter"``, ``"tap"`` (named by the user) or ``"operation"`` (one that
            can leave the range of its type, such as an exponential).
        scope: the `jax.named_scope` path around it, ``""`` if there is none.
        function: the activation function (``"sigmoid"``) or the primitive of the
            operation (``"exp"``), else ``""``.
        order: position in the forward program, growing with depth.
        dtype: name of the dtype, such as ``"float32"``.
        shape: shape of the value in the program.
        file: the user's source file, ``""`` if unknown.
        line: the line in `file`, 0 if unknown.

    Example:
        >>> site = Site("hidden_2/sigmoid", kind="activation", scope="hidden_2")
        >>> {site: 1.0}["hidden_2/sigmoid"], site.scope
        (1.0, 'hidden_2')
    """

    kind: SiteKind
    scope: str
    function: str
    order: int
    dtype: str
    shape: tuple[int, ...]
    file: str
    line: int

    def __new__(
        cls,
        key: str,
        *,
        kind: SiteKind = "tap",
        scope: str = "",
        function: str = "",
        order: int = 0,
        dtype: str = "float32",
        shape: tuple[int, ...] = (),
        file: str = "",
        line: int = 0,
    ) -> Self:
        """Name the place `key` and attach what is known of it."""
        site = super().__new__(cls, key)
        site.kind = kind
        site.scope = scope
        site.function = function
        site.order = order
        site.dtype = dtype
        site.shape = shape
        site.file = file
        site.line = line
        return site

    @property
    def location(self) -> str:
        """``"file:line"`` of the user's source, or ``""``."""
        return f"{self.file}:{self.line}" if self.file else ""
