"""Which places are measured: patterns of their names."""

from __future__ import annotations

import re
from collections.abc import Iterable

from nndiag.errors import SettingError
from nndiag.records import Site


class Selection:
    """The places that patterns select, and which patterns were of use.

    A pattern is the name of a place or of a scope around it, in which ``*`` stands for
    any characters. The layers of a scan are measured together, so a number of one in a
    pattern stands for all of them.

    Args:
        include: what is measured; empty for all places.
        exclude: what of it is not.

    Example:
        >>> selection = Selection(["blocks/*/mlp"], ["*/gelu"])
        >>> selection.holds(Site("blocks/3/mlp/w")), selection.holds(Site("embed"))
        (True, False)
        >>> selection.holds(Site("blocks/3/mlp/gelu"))
        False
    """

    def __init__(
        self, include: Iterable[str] = (), exclude: Iterable[str] = ()
    ) -> None:
        self._include = {pattern: _compiled(pattern) for pattern in include}
        self._exclude = {pattern: _compiled(pattern) for pattern in exclude}
        self._used: set[str] = set()
        self._met: set[str] = set()

    def holds(self, site: Site) -> bool:
        """Whether `site` is to be measured."""
        if not self._include and not self._exclude:
            return True
        self._met.add(str(site))
        included = self._matching(self._include, site)
        excluded = self._matching(self._exclude, site)
        self._used |= included | excluded
        return bool(included or not self._include) and not excluded

    def require_use(self) -> None:
        """Raises if a pattern selected nothing of what was asked for.

        Raises:
            SettingError: names the pattern, and places that there are.
        """
        for option, patterns in ("include", self._include), ("exclude", self._exclude):
            for pattern in patterns.keys() - self._used:
                places = ", ".join(sorted(self._met)[:_MOST_NAMED])
                raise SettingError(
                    f"{option} {pattern!r} matches no place in the program; there are "
                    f"{len(self._met):,}, such as {places}"
                )

    def _matching(self, patterns: dict[str, re.Pattern[str]], site: Site) -> set[str]:
        return {name for name, pattern in patterns.items() if pattern.match(site)}


_MOST_NAMED = 8


def patterns(given: Iterable[str], option: str) -> tuple[str, ...]:
    """The patterns that were given for `option`.

    Raises:
        SettingError: it is one string, or holds something else than strings.
    """
    if isinstance(given, str) or not all(isinstance(one, str) for one in given):
        raise SettingError(f"{option} is {given!r}; give a list of patterns")
    return tuple(given)


def _compiled(pattern: str) -> re.Pattern[str]:
    first, *rest = re.split(r"\[(\d+)\]", pattern.rstrip("/"))
    expression = _escaped(first)
    for number, text in zip(rest[::2], rest[1::2], strict=True):
        expression += rf"\[({number}|\*)\]{_escaped(text)}"
    return re.compile(f"{expression}(/.*|$)", re.DOTALL)


def _escaped(text: str) -> str:
    return ".*".join(map(re.escape, text.split("*")))
