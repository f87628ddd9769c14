"""Texts that are repeated to people: never more of one than they want to read."""

from __future__ import annotations

SEEN_LENGTH_MAX = 80
"""So many characters of what somebody wrote an error repeats."""


def cut(text: str, length_max: int) -> str:
    """The text, shortened to `length_max` characters with an ellipsis as the last."""
    return text if len(text) <= length_max else text[: length_max - 1] + "…"


def shorten(value: object, length_max: int = SEEN_LENGTH_MAX) -> str:
    """What a person wrote as a quoted, printable, short text."""
    return repr(cut(str(value), length_max))
