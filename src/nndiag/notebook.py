"""How the nouns show themselves in a notebook, though they know nobody who draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar


class Shown:
    """What shows itself as HTML where a notebook asks for it.

    The nouns stand below all that could draw them, and import nothing of it. The
    package itself, which knows every room, names who does.

    Attributes:
        artist: draws a value as HTML; `None` until somebody is named.
    """

    artist: ClassVar[Callable[[Any], str] | None] = None

    def _repr_html_(self) -> str | None:
        """The value as HTML, `None` if there is nobody who draws."""
        return None if Shown.artist is None else Shown.artist(self)
