"""Errors of others, told in one line."""

from __future__ import annotations

_LONGEST = 300


def text_of(error: BaseException) -> str:
    """What the error says, in one line of at most 300 characters."""
    return " ".join(str(error).split())[:_LONGEST]


def name_and_text(error: BaseException) -> str:
    """The error's class and what it says, in one line."""
    return f"{type(error).__name__}: {text_of(error)}"
