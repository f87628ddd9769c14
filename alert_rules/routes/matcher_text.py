"""Matchers as people write them.

Two grammars are in use. The UTF-8 one wants values that are quoted or free of reserved characters; the classic one is
older and more tolerant. Both read the text: where only the classic one can, or where they disagree, the classic
one wins and a warning says so; where none can, the classic one's error is told.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from alert_rules.routes.matcher import Matcher, MatcherError, Op, is_reserved

TEXT_LENGTH_MAX = 16_384
_CLASSIC = re.compile(r"\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(=~|=|!=|!~)\s*(.*?)\s*", re.DOTALL | re.ASCII)
_ESCAPES = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, '"': 34}
_HEX = {"x": 2, "u": 4, "U": 8}


class Parsed(NamedTuple):
    """The matchers of a text; `warning` says what about it will not be understood the same way for ever."""

    matchers: list[Matcher]
    warning: str = ""


def parse_matchers(text: str) -> Parsed:
    """Return the matchers in `text`, all of which must match. Raises MatcherError with Alertmanager's text."""
    if len(text) > TEXT_LENGTH_MAX:
        raise MatcherError(f"matchers are longer than {TEXT_LENGTH_MAX} characters")
    try:
        new = parse_utf8(text)
    except MatcherError as error:
        old = parse_classic(text)
        suggestion = ",".join(map(str, old))
        return Parsed(old, f"only the classic parser reads {text!r} ({error}); quote names and values: {suggestion}")
    try:
        old = parse_classic(text)
    except MatcherError:
        return Parsed(new)
    if old != new:
        return Parsed(old, f"{text!r} means {old} to the classic parser, which is used, and {new} to the UTF-8 one; quote names and values")
    return Parsed(new)


# The classic grammar ------------------------------------------------------------------------------------------------


def parse_classic(text: str) -> list[Matcher]:
    """The older grammar: the value may be missing, unquoted, and hold nearly anything."""
    text = text.removeprefix("{").removesuffix("}")
    return [_classic(token) for token in _split_classic(text)]


def _split_classic(text: str) -> list[str]:
    tokens, token, quoted, escaped = [], "", False, False
    for char in text:
        if char == "," and not quoted:
            tokens.append(token)
            token = ""
            continue
        if char == '"':
            quoted = quoted if escaped else not quoted
            escaped = False
        else:
            escaped = char == "\\" and not escaped
        token += char
    return [*tokens, token.strip()] if token.strip() else tokens


def _classic(token: str) -> Matcher:
    match = _CLASSIC.fullmatch(token)
    if match is None:
        raise MatcherError(f"bad matcher format: {token}")
    name, op, raw = match.groups()
    return Matcher(name, Op(op), _unescape_classic(raw))


def _unescape_classic(raw: str) -> str:
    """Only `\\"`, `\\n` and `\\\\` are escapes; any other backslash stands for itself."""
    quoted = raw.startswith('"')
    body = raw[1:] if quoted else raw
    value, position = "", 0
    while position < len(body):
        char = body[position]
        if char == "\\" and position + 1 < len(body):
            position += 1
            follower = body[position]
            value += {"n": "\n", '"': '"', "\\": "\\"}.get(follower, "\\" + follower)
        elif char == '"':
            if not quoted or position + 1 < len(body):
                raise MatcherError(f"matcher value contains unescaped double quote: {raw}")
            return value
        else:
            value += char
        position += 1
    if quoted:
        raise MatcherError(f"matcher value contains unescaped double quote: {raw}")
    return value


# The UTF-8 grammar --------------------------------------------------------------------------------------------------


class _Token(NamedTuple):
    """`kind` is one of `{ } ,`, an operator, `quoted`, `unquoted` or `end`; columns count characters."""

    kind: str
    text: str
    start: int
    end: int

    def unquote(self) -> str:
        if self.kind != "quoted":
            return self.text
        try:
            return _unquote(self.text[1:-1])
        except ValueError:
            raise MatcherError(f"{self.start}:{self.end}: {self.text}: invalid input") from None


_OPERATORS = tuple(op.value for op in Op)
_WORDS = ("quoted", "unquoted")


def parse_utf8(text: str) -> list[Matcher]:
    """The newer grammar: braces both or neither, one trailing comma, names and values quoted or plain."""
    return _Utf8(text).parse()


class _Utf8:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def parse(self) -> list[Matcher]:
        first = self._peek()
        if first.kind == "end":
            return []
        braces = first.kind == "{"
        if braces:
            self._next()
        matchers: list[Matcher] = []
        if not (braces and self._peek().kind in ("}", "end")) and first.kind != "}":
            self._matchers(matchers)
        self._close(braces)
        end = self._next("expected end of input")
        if end.kind != "end":
            raise MatcherError(f"{end.start}:{end.end}: {end.text}: expected end of input")
        return matchers

    def _matchers(self, matchers: list[Matcher]) -> None:
        while True:
            matchers.append(self._matcher())
            if self._want(("}", ",", "end"), "expected a comma or close brace", take=False).kind != ",":
                return
            self._next()
            if self._want(("}", "end", *_WORDS), "expected a matcher or close brace after comma", take=False).kind in ("}", "end"):
                return

    def _matcher(self) -> Matcher:
        name = self._want(_WORDS, "expected label name").unquote()
        op = self._want(_OPERATORS, "expected an operator such as '=', '!=', '=~' or '!~'").text
        value = self._want(_WORDS, "expected label value").unquote()
        try:
            return Matcher(name, Op(op), value)
        except MatcherError as error:
            raise MatcherError(f"failed to create matcher: {error}") from None

    def _close(self, braces: bool) -> None:
        token = self._peek()
        if braces and token.kind == "end":
            raise MatcherError(f"0:{token.end}: end of input: expected close brace")
        if token.kind == "}":
            self._next()
            if not braces:
                raise MatcherError(f"0:{token.end}: }}: expected opening brace")

    def _want(self, kinds: tuple[str, ...], why: str, *, take: bool = True) -> _Token:
        token = self._next(why) if take else self._peek(why)
        if token.kind in kinds:
            return token
        if token.kind == "end":
            raise MatcherError(f"end of input: {why}")
        raise MatcherError(f"{token.start}:{token.end}: unexpected {token.text}: {why}")

    def _peek(self, why: str = "") -> _Token:
        at = self.at
        try:
            return self._next(why)
        finally:
            self.at = at

    def _next(self, why: str = "") -> _Token:
        try:
            token = _scan(self.text, self.at)
        except MatcherError as error:
            raise MatcherError(f"{error}: {why}" if why else str(error)) from None
        self.at = token.end
        return token


def _scan(text: str, at: int) -> _Token:
    """The token at or after a column."""
    while at < len(text) and text[at].isspace():
        at += 1
    if at == len(text):
        return _Token("end", "", at, at)
    char = text[at]
    if char in "{},":
        return _Token(char, char, at, at + 1)
    if char in "=!":
        return _scan_operator(text, at)
    if char == '"':
        return _scan_quoted(text, at)
    end = at
    while end < len(text) and not is_reserved(text[end]):
        end += 1
    if end == at:
        raise MatcherError(f"{at}:{at + 1}: {char}: invalid input")
    return _Token("unquoted", text[at:end], at, end)


def _scan_operator(text: str, at: int) -> _Token:
    for operator in (text[at : at + 2], text[at]):
        if operator in _OPERATORS:
            return _Token(operator, operator, at, at + len(operator))
    seen = "unexpected end of input, expected" if at + 1 >= len(text) else "!: expected"
    raise MatcherError(f"{at}:{at + 1}: {seen} one of '=~'")


def _scan_quoted(text: str, at: int) -> _Token:
    end = at + 1
    while end < len(text) and text[end] != '"':
        end += 2 if text[end] == "\\" else 1
    if end >= len(text):
        raise MatcherError(f'{at}:{len(text)}: {text[at:]}: missing end "')
    return _Token("quoted", text[at : end + 1], at, end + 1)


def _unquote(body: str) -> str:
    """The body of a Go string literal in double quotes. Raises ValueError for escapes Go does not know, and for what is not UTF-8."""
    data, position = bytearray(), 0
    while position < len(body):
        char = body[position]
        if char == "\n":
            raise ValueError("newline in a string")
        if char != "\\":
            data += char.encode()
            position += 1
            continue
        mark = body[position + 1]
        digits = body[position + 2 : position + 2 + _HEX[mark]] if mark in _HEX else body[position + 1 : position + 4]
        if mark in _ESCAPES:
            data.append(_ESCAPES[mark])
            position += 2
        elif mark in _HEX and len(digits) == _HEX[mark] and re.fullmatch("[0-9a-fA-F]+", digits):
            data += bytes([int(digits, 16)]) if mark == "x" else chr(int(digits, 16)).encode()
            position += 2 + _HEX[mark]
        elif re.fullmatch("[0-3][0-7]{2}", digits):
            data.append(int(digits, 8))
            position += 4
        else:
            raise ValueError("unknown escape")
    return data.decode()
