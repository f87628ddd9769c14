"""Regular expressions of RE2: which are accepted, and what one may cost.

RE2 never backtracks, so a match takes at most a time proportional to the length of the text and to the size of the program that
the expression is compiled to. Linear is not cheap: where a text drives it out of its cached states, each instruction costs up to
7 ns for each byte. So the size of the program is bounded, and with it the cost of a body of any content: the work of a match is its
instructions times its bytes. This is a count, the same on every machine; the time of a trial is not.
"""

from __future__ import annotations

from typing import Any

import re2

from monitor.core.texts import shorten

PATTERN_LENGTH_MAX = 1_000
PROGRAM_SIZE_MAX = 1_500
"""Instructions. At the worst a body of 1 MiB costs 10 s of one core, and nobody but its own endpoint waits for it (matching.py)."""
STATES_BYTES_MAX = 4_194_304
"""Memory for the states that RE2 has met, of one expression: with less it forgets them too early, with more it forgets them too late."""

_SPECIAL = frozenset(r"\.+*?()|[]{}^$")
_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.never_capture = True  # Nobody asks what a group held, and to find out costs a second pass.
_OPTIONS.max_mem = STATES_BYTES_MAX


class Pattern:
    """An expression that searches bytes as UTF-8. Raises ValueError with a hint where `pattern` does.

    `size` is the number of its instructions: with the bytes of a text it makes the work of a match.
    """

    __slots__ = ("_plain", "_re", "size", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._re = _compiled(text)
        self._plain = None if self._re is not None else text.encode()
        self.size: int = 1 if self._re is None else self._re.programsize

    def found_in(self, data: bytes | bytearray) -> bool:
        """Whether the pattern occurs in the data."""
        if self._plain is not None:
            return self._plain in data
        return self._re.search(data) is not None

    def __str__(self) -> str:
        return f"/{self.text}/"


def pattern(text: Any) -> str:
    """Parse an option that is a regular expression. Raises ValueError with a hint."""
    if not isinstance(text, str) or not text:
        raise ValueError("a regular expression must be text; write for example ready")
    if len(text) > PATTERN_LENGTH_MAX:
        raise ValueError(f"the regular expression is longer than {PATTERN_LENGTH_MAX} characters; write a shorter one")
    _compiled(text)
    return text


def _compiled(text: str) -> Any:
    """The expression as RE2 has it, or None for a plain text: most are, and need no RE2."""
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        raise ValueError("the regular expression is not UTF-8 text; write bytes as \\xff") from None
    if not _SPECIAL & set(text):
        return None
    try:
        compiled = re2.compile(encoded, _OPTIONS)
    except re2.error as error:
        why = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        raise ValueError(
            f"{shorten(text)} is not an RE2 regular expression ({why[:200]}); RE2 knows no look-around and no back-references"
        ) from None
    if compiled.programsize > PROGRAM_SIZE_MAX:
        raise ValueError(
            f"{shorten(text)} is too costly to match, with {compiled.programsize} instructions where {PROGRAM_SIZE_MAX} are allowed; "
            "repeat less often (.* is far cheaper than .{0,1000}), or leave parts out"
        )
    return compiled
