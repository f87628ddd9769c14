"""What others say (targets, services) is data: without secrets, with control characters escaped, and cut, before anyone reads it."""

from __future__ import annotations

from monitor.core.outcome import TEXT_LENGTH_MAX
from monitor.core.secret import scrubbed
from monitor.core.texts import cut

EXCERPT_LENGTH_MAX = 60
LOOKED_AT_LENGTH_MAX = 8_192
"""How much of a text is searched for secrets; what is shown of it is far shorter."""


def escaped(text: str) -> str:
    """The text on one line, with `\\n`, `\\x1b` and the like where it held characters that a terminal obeys or does not show."""
    return text if text.isprintable() else "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def escaped_lines(text: str) -> str:
    """As `escaped`, line by line."""
    return text if text.isprintable() else "\n".join(map(escaped, text.split("\n")))


def clean(text: str) -> str:
    """Return `text` scrubbed of secrets and escaped, at most TEXT_LENGTH_MAX characters long."""
    return cut(escaped(scrubbed(text[:LOOKED_AT_LENGTH_MAX])[: TEXT_LENGTH_MAX + 1]), TEXT_LENGTH_MAX)


def excerpt(data: bytes | str) -> str:
    """Return the start of what was received, as a person may read it; secrets are scrubbed before it is cut."""
    text = data if isinstance(data, str) else data[:LOOKED_AT_LENGTH_MAX].decode("utf-8", "backslashreplace")
    return cut(scrubbed(text[:LOOKED_AT_LENGTH_MAX]), EXCERPT_LENGTH_MAX)


def got(data: bytes | str) -> str:
    """Return ` (got "…")`, the tail of a text that tells what was received instead of what was wanted."""
    return f' (got "{excerpt(data)}")' if data else " (got nothing)"
