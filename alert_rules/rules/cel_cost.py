"""What an expression names and at most costs, told from its text before it is compiled.

The CEL library cannot be interrupted, so whatever is costly is refused before the library sees it. The bound is an upper one: every
operand of a sequence counts as evaluated, whatever its operators are, and a value made of others is as large as all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

import re2

from monitor.core.endpoint import LABELS_MAX, URL_LENGTH_MAX

LENGTH_MAX = 4_096
NESTING_MAX = 16
"""Brackets within brackets."""
PARTS_MAX = 500
"""Operators, brackets and dots of an expression; commas, names, numbers and texts are not counted."""
STEPS_MAX = 50_000
"""Steps of one evaluation: tenths of a microsecond each, two to four microseconds at worst."""
UNITS_MAX = 1_000_000
"""Characters and elements of any value that an expression makes."""
PATTERN_SIZE_MAX = 10_000
"""Instructions of a pattern of `matches`, as RE2 compiles it."""

_LABEL_UNITS = 256
"""Of a label's name, and of its value."""
_UNITS_A_STEP = 512
"""So many characters are copied or compared in one step."""
_NUMBER_UNITS = 32
"""Of a number, a time or a duration as text."""
_UNITS_A_PASS = 512
"""A pattern costs its size once for each so many characters of the text that it is matched against."""
_MACROS = frozenset({"all", "exists", "exists_one", "existsOne", "map", "filter"})
_CONSTANTS = frozenset({"true", "false", "null"})
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_BINARY = frozenset(("+", "-", "*", "/", "%", "<", "<=", ">", ">=", "==", "!=", "&&", "||", "?", ":", "in"))
_TOKEN = re.compile(
    r"""
      (?P<blank> [\t\ \r\n\f]+ | //[^\n]* )
    | (?P<text> [bB]?(?:
          [rR](?: \"{3}.*?\"{3} | '{3}.*?'{3} | "[^"\n\r]*" | '[^'\n\r]*' )
        | \"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3} | "(?:\\.|[^"\\\n\r])*" | '(?:\\.|[^'\\\n\r])*' ))
    | (?P<number> (?: 0x[0-9a-fA-F]+ | (?:[0-9]+(?:\.[0-9]+)? | \.[0-9]+)(?:[eE][+-]?[0-9]+)? )[uU]? )
    | (?P<name> [A-Za-z_][A-Za-z0-9_]* )
    | (?P<part> && | \|\| | [<>=!]= | [-+*/%<>!?:.,()\[\]{}] )
    """,
    re.VERBOSE | re.DOTALL,
)


_HEX = "[0-9a-fA-F]"
_ESCAPE = re.compile(rf"\\(?:[xX]({_HEX}{{2}})|u({_HEX}{{4}})|U({_HEX}{{8}})|([0-3][0-7]{{2}})|(.))", re.DOTALL)
_CONTROLS = dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True))


class CelError(ValueError):
    """An expression that is not to be executed; the text says why."""


class CelSyntaxError(CelError):
    """An expression that cannot be read, and so cannot be bounded; the library says better what is wrong with it."""


class Reading(NamedTuple):
    """What the text of an expression tells."""

    names: frozenset[str]
    """The variables that it names; what its macros bind is not among them."""
    steps: int
    """An upper bound of what one evaluation costs."""
    looked_up: frozenset[str]
    """Labels that it looks up by their names."""
    unasked: frozenset[str]
    """Those of them of which it asks nowhere whether they are there."""


def read_expression(text: str, maps: frozenset[str] = frozenset({"labels"})) -> Reading:
    """Read an expression; `maps` are the variables that hold labels, all others hold numbers or texts.

    Raises CelError where it is too long, too deep or too costly, CelSyntaxError where it is no expression but harmless to compile.
    """
    if len(text) > LENGTH_MAX:
        raise CelError(f"the expression is longer than {LENGTH_MAX} characters")
    reader = _Reader(list(tokens_of(text)), maps)
    size = reader.sequence()
    if reader.token.kind != "end":
        reader.unexpected()
    return Reading(frozenset(reader.names), size.steps, frozenset(reader.looked_up), frozenset(reader.looked_up - reader.asked))


class Token(NamedTuple):
    """A name, a text, a number or a part of the syntax."""

    kind: str
    text: str


class _Size(NamedTuple):
    """At most so large a value, made at most at this cost."""

    items: int
    """Elements that a macro over it visits."""
    units: int
    """Characters and elements in it altogether."""
    steps: int
    element: int = 0
    """Characters and elements in one of its elements."""

    @property
    def one(self) -> _Size:
        """The size of an element."""
        return _Size(self.element, self.element, 0, self.element)


_NOTHING = _Size(0, 0, 0)
_TEXT = _Size(0, URL_LENGTH_MAX, 0)
_LABELS = _Size(LABELS_MAX, 2 * LABELS_MAX * _LABEL_UNITS, 0, _LABEL_UNITS)


def tokens_of(text: str) -> Iterator[Token]:
    """The parts of an expression without what stands between them, and its end. Raises CelError."""
    place, parts, open_brackets = 0, 0, 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            line, column = text.count("\n", 0, place) + 1, place - text.rfind("\n", 0, place)
            raise CelError(f"this is no CEL expression: {line}:{column}: unexpected {text[place]!r}")
        place = found.end()
        kind, part = str(found.lastgroup), found.group()
        if kind == "part" and part != ",":
            parts += 1
            open_brackets += (part in _CLOSING) - (part in _CLOSING.values())
            if parts > PARTS_MAX:
                raise CelError(f"the expression has more than {PARTS_MAX} operators, brackets and dots")
            if open_brackets > NESTING_MAX:
                raise CelError(f"brackets are nested deeper than {NESTING_MAX} levels")
        if kind != "blank":
            yield Token("part" if part == "in" else kind, part)
    yield Token("end", "the end")


class _Reader:
    """Reads tokens from left to right and sizes what they make."""

    __slots__ = ("asked", "bound", "looked_up", "maps", "names", "place", "tokens")

    def __init__(self, tokens: list[Token], maps: frozenset[str]) -> None:
        self.tokens = tokens
        self.maps = maps
        self.place = 0
        self.bound: list[tuple[str, _Size]] = []
        self.names: set[str] = set()
        self.looked_up: set[str] = set()
        self.asked: set[str] = set()

    @property
    def token(self) -> Token:
        return self.tokens[self.place]

    def take(self, *texts: str) -> str:
        """The next token's text where it is a part and one of these, which is then behind; else ""."""
        kind, text = self.token
        if kind != "part" or text not in texts:
            return ""
        self.place += 1
        return text

    def expect(self, text: str) -> None:
        if not self.take(text):
            self.unexpected()

    def unexpected(self) -> NoReturn:
        raise CelSyntaxError(f"unexpected {self.token.text!r}")

    def sequence(self) -> _Size:
        """Operands with operators between them."""
        size = self.operand()
        while operator := self.take(*_BINARY):
            text = self.tokens[self.place - 2]
            operand = self.operand()
            both = _both(size, operand)
            if operator == "+":
                size = both._replace(steps=both.steps + both.units // _UNITS_A_STEP)
            else:  # What it makes is no longer than either, and what a `+` follows is as long as the longest since the last one.
                items, units = max(size.items, operand.items), max(size.units, operand.units)
                size = _Size(items, units, both.steps + operand.units // _UNITS_A_STEP, both.element)
            if operator == "in" and text.kind == "text" and self.tokens[self.place - 1].text in self.maps:
                self.asked.add(unquoted(text.text))
        return size

    def operand(self) -> _Size:
        while self.take("!", "-"):
            pass
        size = self.primary()
        size = size._replace(steps=size.steps + 1)
        while part := self.take(".", "["):
            size = self.member(size) if part == "." else self.index(size)
        return size

    def primary(self) -> _Size:
        kind, text = self.token
        if opening := self.take("(", "[", "{"):
            size, count = self.list_until(_CLOSING[opening])
            return size if opening == "(" else _Size(count, size.units + count, size.steps, size.units)
        if kind not in {"text", "number", "name"}:
            self.unexpected()
        self.place += 1
        if kind == "text":
            return _Size(0, len(text), 0)
        if kind == "number" or text in _CONSTANTS:
            return _Size(0, 1, 0)
        if self.take("("):
            return self.call(text, _NOTHING)
        for name, size in reversed(self.bound):
            if name == text:
                return size
        self.names.add(text)
        return _LABELS if text in self.maps else _TEXT

    def list_until(self, closing: str) -> tuple[_Size, int]:
        """Sequences with commas between them, and how many there are."""
        size, count = _NOTHING, 0
        while not self.take(closing):
            size = _both(size, self.sequence())
            count += 1
            if not self.take(","):
                self.expect(closing)
                break
        return size, count

    def index(self, of: _Size) -> _Size:
        map_, key = self.tokens[self.place - 2], self.token
        size = self.sequence()
        if map_.text in self.maps and key.kind == "text" and self.token.text == "]":
            self.looked_up.add(unquoted(key.text))
        self.expect("]")
        return of.one._replace(steps=of.steps + size.steps)

    def member(self, of: _Size) -> _Size:
        map_, (kind, name) = self.tokens[self.place - 2], self.token
        if kind != "name":
            self.unexpected()
        self.place += 1
        if self.take("("):
            return self.macro(name, of) if name in _MACROS else self.call(name, of)
        if map_.text in self.maps:
            asks = [token.text for token in self.tokens[max(self.place - 5, 0) : self.place - 3]] == ["has", "("]
            (self.asked if asks else self.looked_up).add(name)
        return of.one._replace(steps=of.steps)

    def call(self, name: str, of: _Size) -> _Size:
        """A function's or a method's call: what it answers is at most as large as all that it is given, and a number's text."""
        arguments = self.place
        size, _ = self.list_until(")")
        size = _both(of, size)
        if name == "matches":
            size = size._replace(steps=size.steps + self.pattern_size(arguments) * (1 + size.units // _UNITS_A_PASS))
        return _within(_Size(size.items, size.units + _NUMBER_UNITS, size.steps + 1 + size.units // _UNITS_A_STEP, size.element))

    def pattern_size(self, first: int) -> int:
        """What a call of `matches` costs for each pass: its last argument is the pattern, and that is written out."""
        kind, text = self.tokens[self.place - 2]
        if kind != "text" or (self.place - 2 != first and self.tokens[self.place - 3].text != ","):
            raise CelError("the pattern of matches() must be written out as one text")
        return pattern_size(unquoted(text))

    def macro(self, name: str, of: _Size) -> _Size:
        brackets = 0
        while self.take("("):
            brackets += 1
        kind, variable = self.token
        if kind != "name":
            self.unexpected()
        self.place += 1
        for _ in range(brackets):
            self.expect(")")
        self.expect(",")
        self.bound.append((variable, of.one))
        size, _ = self.list_until(")")
        self.bound.pop()
        steps = of.steps + 1 + of.items * (1 + size.steps + size.units // _UNITS_A_STEP)
        if name == "map":
            return _within(_Size(of.items, of.items * (1 + size.units), steps, size.units))
        return _within(of._replace(steps=steps) if name == "filter" else _Size(0, 1, steps))


def pattern_size(pattern: str) -> int:
    r"""How many instructions a pattern of `matches` has. A class like \w is one of Unicode there, and counts as \pL does in RE2.

    Raises CelError where RE2 cannot read it, and where it has more than PATTERN_SIZE_MAX.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        size = int(re2.compile(re.sub(r"\\(.)", _as_unicode, pattern, flags=re.DOTALL), options).programsize)
    except (re2.error, UnicodeError) as error:
        said = error.args[0] if error.args else ""
        why = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        raise CelError(f"this pattern of matches() is not RE2: {why}") from None
    if size > PATTERN_SIZE_MAX:
        raise CelError(f"a pattern of matches() is too large: {size} instructions, and at most {PATTERN_SIZE_MAX} are allowed")
    return size


def _as_unicode(escape: re.Match[str]) -> str:
    return r"\pL" if escape.group(1) in "wWdDsS" else escape.group()


def unquoted(text: str) -> str:
    """What a text literal says."""
    quoted = text.lstrip("bBrR")
    width = 3 if quoted[:3] in {'"' * 3, "'" * 3} else 1
    inner = quoted[width:-width]
    return inner if "r" in text[: len(text) - len(quoted)].lower() else _ESCAPE.sub(_unescaped, inner)


def _unescaped(escape: re.Match[str]) -> str:
    *codes, octal, character = escape.groups()
    if character:
        return _CONTROLS.get(character, character)
    try:
        return chr(int(octal, 8) if octal else int("".join(filter(None, codes)), 16))
    except ValueError:
        return ""  # No library takes it.


def _both(one: _Size, other: _Size) -> _Size:
    size = _Size(one.items + other.items, one.units + other.units, one.steps + other.steps, max(one.element, other.element))
    return _within(size)


def _within(size: _Size) -> _Size:
    if size.steps > STEPS_MAX:
        raise CelError(f"the expression could take more than {STEPS_MAX} steps; macros within macros multiply")
    if size.units > UNITS_MAX:
        raise CelError(f"the expression could make values of more than {UNITS_MAX} characters")
    return size
