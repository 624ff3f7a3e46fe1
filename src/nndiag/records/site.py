"""A place in the watched program."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Literal, NamedTuple, Self

SiteKind = Literal[
    "input",
    "activation",
    "logits",
    "parameter",
    "tap",
    "operation",
    "attention",
    "normalisation",
    "dropout",
    "residual",
]

INDEX = "[*]"
"""Stands in the name of a place in a scan over layers for the number of the layer."""


class Axis(NamedTuple):
    """A leading axis of the readings of a place that stands in a scan.

    Attributes:
        length: number of layers; 0 if the iterations are no layers of their own.
        span: how much further each layer is in the program's order than the last.
    """

    length: int
    span: int = 0


class Site(str):
    """A place in the watched program: its own key, with what and where attached.

    A `Site` is the string that names it (``"hidden_2/sigmoid"``), so dictionaries
    keyed by sites are pytrees with stable string keys that are looked up by plain
    strings. As the keys are static structure under `jax.jit`, the attributes travel
    out of a compiled function without being arrays.

    Attributes:
        kind: ``"input"`` (what the first parametrised operation reads),
            ``"activation"``, ``"logits"`` (what the softmax of the loss reads),
            ``"parameter"``, ``"tap"`` (named by the user), ``"operation"`` (one that
            can leave the range of its type, such as an exponential), ``"attention"``
            (one of its heads), ``"normalisation"`` (what is normalised), ``"dropout"``
            or ``"residual"`` (a branch that is added to a stream).
        scope: the `jax.named_scope` path around it, ``""`` if there is none.
        function: the activation function (``"sigmoid"``), the primitive of the
            operation (``"exp"``), ``"softmax"`` of attention, the normalisation
            (``"layer_norm"``, ``"batch_norm"``, ``"rms_norm"``), else ``""``.
        order: position in the forward program, growing with depth.
        dtype: name of the dtype, such as ``"float32"``.
        shape: shape of the value in the program.
        file: the user's source file, ``""`` if unknown.
        line: the line in `file`, 0 if unknown.
        axes: the leading axes of its readings, for the scans that it stands in,
            outermost first, and then the heads of an attention. Where one is over
            layers or heads, `INDEX` stands in the name.

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
    axes: tuple[Axis, ...]

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
        axes: tuple[Axis, ...] = (),
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
        site.axes = axes
        return site

    def layers(self) -> Iterator[Site]:
        """The place in each layer, in their order; itself if it is in no such scan.

        Example:
            >>> site = Site("blocks[*]/gelu", scope="blocks[*]", axes=(Axis(2, 9),))
            >>> list(site.layers())
            ['blocks[0]/gelu', 'blocks[1]/gelu']
        """
        axes = [axis for axis in self.axes if axis.length]
        for index in itertools.product(*(range(axis.length) for axis in axes)):
            place = Site(_numbered(self, index), **vars(self))
            place.scope, place.axes = _numbered(self.scope, index), ()
            place.order += sum(i * a.span for i, a in zip(index, axes, strict=True))
            yield place

    @property
    def location(self) -> str:
        """``"file:line"`` of the user's source, or ``""``."""
        return f"{self.file}:{self.line}" if self.file else ""


def _numbered(name: str, index: tuple[int, ...]) -> str:
    for number in index:
        name = name.replace(INDEX, f"[{number}]", 1)
    return name
