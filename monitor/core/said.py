"""What others say (targets, services) is data: cut, and with its control characters escaped, before anyone reads it."""

from __future__ import annotations

from monitor.core.outcome import TEXT_LENGTH_MAX

EXCERPT_LENGTH_MAX = 60


def escaped(text: str) -> str:
    """The text on one line, with `\\n`, `\\x1b` and the like where it held characters that a terminal obeys or does not show."""
    return text if text.isprintable() else "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def clean(text: str) -> str:
    """Return `text` escaped, at most TEXT_LENGTH_MAX characters long."""
    text = escaped(text[: TEXT_LENGTH_MAX + 1])
    return text if len(text) <= TEXT_LENGTH_MAX else text[: TEXT_LENGTH_MAX - 1] + "…"


def excerpt(data: bytes) -> str:
    """Return the start of what was received, as a person may read it."""
    head = data[: EXCERPT_LENGTH_MAX * 4].decode("utf-8", "backslashreplace")
    return head if len(head) <= EXCERPT_LENGTH_MAX and len(data) <= EXCERPT_LENGTH_MAX * 4 else head[:EXCERPT_LENGTH_MAX] + "…"


def got(data: bytes) -> str:
    """Return ` (got "…")`, the tail of a text that tells what was received instead of what was wanted."""
    return f' (got "{excerpt(data)}")' if data else " (got nothing)"
