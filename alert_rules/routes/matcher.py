"""A condition on one label: `=`, `!=`, `=~`, `!~`. The texts that people write are read in matcher_text.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any

import re2

REGEX_LENGTH_MAX = 4_096
PROGRAM_SIZE_MAX = 10_000
"""Instructions of an expression's program, each of which costs at most 7 ns for each byte: 18 ms for the longest label."""
_RESERVED = frozenset("{}!=~,\\\"'`")
_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
# RE2 for C++ and for Go say the same in other words; people compare with what Prometheus and amtool print.
_GO_WORDS = {
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "missing )": "missing closing )",
    "missing ]": "missing closing ]",
    "invalid repetition size": "invalid repeat count",
}


class MatcherError(ValueError):
    """A matcher that cannot be read; the text is Alertmanager's."""


class Op(StrEnum):
    """The operators of a matcher; regular expressions are RE2 and match the whole value."""

    EQUAL = "="
    NOT_EQUAL = "!="
    REGEX = "=~"
    NOT_REGEX = "!~"


class Matcher:
    """One condition. Equal when name, operator and value are equal; a label that is missing counts as empty."""

    __slots__ = ("_negative", "_search", "name", "op", "value")

    def __init__(self, name: str, op: Op, value: str) -> None:
        """Raises MatcherError when the value is no regular expression of RE2."""
        self.name = name
        self.op = op
        self.value = value
        self._negative = op in (Op.NOT_EQUAL, Op.NOT_REGEX)
        self._search = compile_anchored(value).search if op in (Op.REGEX, Op.NOT_REGEX) else None

    def matches_text(self, text: str) -> bool:
        """Whether a value of its label satisfies it."""
        hit = text == self.value if self._search is None else self._search(text.encode(errors="replace")) is not None
        return hit is not self._negative

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels satisfy it; a label that is missing counts as empty."""
        return self.matches_text(labels.get(self.name, ""))

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
        return f'{_name_text(self.name)}{self.op}"{escaped}"'

    def __repr__(self) -> str:
        return f"Matcher({self})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Matcher) and (self.name, self.op, self.value) == (other.name, other.op, other.value)

    def __hash__(self) -> int:
        return hash((self.name, self.op, self.value))


def matches_all(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether every matcher matches; none at all match everything."""
    return all(matcher.matches(labels) for matcher in matchers)


def matchers_text(matchers: Iterable[Matcher]) -> str:
    """`{a="b",c=~"d"}`, ordered by name, value and operator: a part of a group's key."""
    ordered = sorted(matchers, key=lambda matcher: (matcher.name, matcher.value, matcher.op))
    return "{" + ",".join(map(str, ordered)) + "}"


def labels_text(labels: Mapping[str, str]) -> str:
    """`{a="b", c="d"}`, ordered by name."""
    return "{" + ", ".join(f"{name}={_quote(labels[name])}" for name in sorted(labels)) + "}"


@lru_cache(maxsize=1_024)
def compile_anchored(pattern: str) -> Any:
    """The pattern bound to the whole text in UTF-8, as Prometheus binds it: `^(?:pattern)$`; `.` takes no newline."""
    if len(pattern) > REGEX_LENGTH_MAX:
        raise MatcherError(f"error parsing regexp: expression is longer than {REGEX_LENGTH_MAX} characters")
    try:
        compiled = re2.compile(f"^(?:{pattern})$".encode(), _OPTIONS)
    except UnicodeEncodeError:
        raise MatcherError(f"error parsing regexp: invalid UTF-8: `{pattern.encode(errors='replace').decode()}`") from None
    except re2.error as error:
        detail = error.args[0]
        words, _, part = (detail.decode(errors="replace") if isinstance(detail, bytes) else str(detail)).partition(": ")
        raise MatcherError(f"error parsing regexp: {_GO_WORDS.get(words, words)}: `{part}`") from None
    if compiled.programsize > PROGRAM_SIZE_MAX:
        raise MatcherError(f"error parsing regexp: expression makes more than {PROGRAM_SIZE_MAX} instructions; repeat less often")
    return compiled


def is_reserved(char: str) -> bool:
    """Whether the character cannot stand in an unquoted name or value."""
    return char in _RESERVED or char.isspace()


def _name_text(name: str) -> str:
    return _quote(name) if any(map(is_reserved, name)) else name


def _quote(text: str) -> str:
    """The text as Go quotes it, for what labels hold in practice."""
    named = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(named.get(char) or (char if char.isprintable() else f"\\u{ord(char):04x}") for char in text) + '"'
