"""Secrets never leave: what a service answers is shown without anything that its address holds, however it writes it.

A secret is looked for in the text as it stands and in what the text says once percent signs, entities and backslashes are read, up to three
times; white space does not hide a long one. So one rule finds it quoted, escaped, in JSON, in HTML, broken over lines, or in a mixture.
"""

from __future__ import annotations

import base64
import html
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, unquote_plus

from monitor.core.said import LOOKED_AT_LENGTH_MAX, escaped
from monitor.core.secret import SECRET, scrubbed
from monitor.core.texts import cut

ANSWER_LENGTH_MAX = 300
BLANK = "****"
LONG_LENGTH = 6
"""A secret of that many characters is blanked also within a word, and with white space in it."""
WORD_LENGTH_MIN = 4
"""A part of a path that is shorter, or an ordinary word, is blanked in the place of a path or of a whole value alone."""
OPTION_LENGTH_MAX = 12
"""A parameter's value of letters alone that is longer is no option of a service, such as `high`."""
PIECE_LENGTH = 12
"""So many characters in a row of a longer secret are blanked wherever they are, unless they are a word: a service may show a part of it."""
CUT_LENGTH_MIN = 3
"""So many characters of a secret at the end of a text are blanked too: the text may have been cut there."""
PASSES = 3
"""How often a text is read again for what is escaped in it."""

_URL = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.-]*://[^\s'\"]+")
_WORD = re.compile(r"[A-Za-z]+|\d{1,3}")
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_ORDINARY = re.compile(
    r"admin|alerts?|api|apprise|bot|channels?|chat|default|dev|events?|general|health|https?|hooks?|incoming|messages?|monitor(ing)?|notif(y|ications?)"
    r"|post|prod|push|rest|root|rooms?|send|services?|status|test|topic|update|user|v\d|watchkeeper|webhooks?|workflows?",
    re.IGNORECASE,
)
_OPEN = re.compile(
    r"format|overflow|verify|rto|cto|emojis|tz|store|redirect|retry|wait|optional|tags?|to|from|b?cc|reply|name|smtp|mode|method",
    re.IGNORECASE,
)
"""Parameters of every apprise URL that say nothing secret: how to send, and to whom."""
_SETTING = re.compile(r"yes|no|true|false|on|off|none|basic|login|token", re.IGNORECASE)
_HOST = re.compile(r"localhost:?|[a-z0-9-]+(\.[a-z0-9-]+)+\.?|\[[0-9a-f:.]+\]", re.IGNORECASE)
_TOKEN = re.compile(
    r"(?:%[0-9A-Fa-f]{2})+|%u[0-9A-Fa-f]{4}|(?:=[0-9A-F]{2}){2,}|=3D"
    r"|&\#[xX](?:[0-9A-Fa-f]{1,12};|[0-9A-Fa-f]{1,6})|&\#(?:[0-9]{1,12};|[0-9]{1,7})|&[A-Za-z]{2,8};"
    r"|\\U[0-9A-Fa-f]{8}|\\u\{[0-9A-Fa-f]{1,8}\}|\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|\\[0-7]{3}|\\.",
    re.DOTALL,
)
_UNFINISHED = re.compile(
    r"(?:%(?:u?[0-9A-Fa-f]{0,3})|(?<==..)=[0-9A-F]?|&\#?\w{0,12}|\\(?:U[0-9A-Fa-f]{0,7}|u\{?[0-9A-Fa-f]{0,8}|x[0-9A-Fa-f]?|[0-7]{0,2})?)$"
)
UNFINISHED_LENGTH_MAX = 16
"""No escape of one character is longer."""
_QUOTES = ("", "'", '"', "`", "\\")
_PLACES = ("/", *_QUOTES[1:])
_NAMED = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


class _Role(NamedTuple):
    """A secret in the letters in which it is looked for."""

    needle: str
    """Case folded; a long one without white space."""
    spaces: bool
    """White space in it counts."""
    whole: bool
    """It must stand by itself: no letter or digit beside it."""
    placed: bool
    """It must stand in the place of a part of a path, or of a whole quoted value."""

    def begins(self, before: str) -> bool:
        """Whether it may begin after this character."""
        return before in _PLACES if self.placed else not _wordy(before)

    def fits(self, before: str, after: str) -> bool:
        """Whether it may stand between these characters."""
        if self.placed:
            return before in _PLACES and (before == "/" or after in _QUOTES) and not _wordy(after) and after not in {"-", "."}
        return not self.whole or not (_wordy(before) or _wordy(after))


class _Char(NamedTuple):
    """A character that a text says, and where it says it."""

    char: str
    start: int
    end: int


class Secrets:
    """What one address holds, in every form in which it could be sent and echoed."""

    def __init__(self, values: Iterable[str], parts: Iterable[str] = ()) -> None:
        """`values` are secret wherever they are said; `parts` of a path are ordinary words, some of them."""
        roles: dict[str, _Role] = {}
        for part in parts:
            for form in _forms(part):
                _add(
                    roles,
                    form,
                    placed=len(part) < WORD_LENGTH_MIN or _ORDINARY.fullmatch(part) is not None,
                    whole=_WORD.fullmatch(part) is not None,
                )
        for value in values:
            for form in _forms(value):
                _add(roles, form)
        self._roles = sorted(roles.values(), key=lambda role: -len(role.needle))
        self._pieces = {piece for role in self._roles if not (role.whole or role.placed) for piece in _pieces(role.needle)}

    def blank(self, text: str) -> str:
        """What was said, as a person may read it: on one line of a limited length, with a mark in the place of each secret."""
        return cut(escaped(scrubbed(self.without(text[:LOOKED_AT_LENGTH_MAX]))), ANSWER_LENGTH_MAX)

    def without(self, text: str) -> str:
        """The text on one line with a mark in the place of each secret."""
        said = [_Char(char, place, place + 1) for place, char in enumerate(text)]
        found: list[tuple[int, int]] = []
        for spaces in (True, False):
            chars = [one for one in said if spaces or _counts(one.char)]
            for _ in range(PASSES + 1):
                found += self._found(text, chars, spaces=spaces)
                chars = list(_read(chars if spaces else _finished(chars)))
        return " ".join(_marked(text, found).split())

    def _found(self, text: str, said: list[_Char], *, spaces: bool) -> Iterator[tuple[int, int]]:
        """Short secrets where white space counts, long ones where it does not."""
        chars = [_Char(folded, one.start, one.end) for one in said if spaces or _counts(one.char) for folded in one.char.casefold()]
        line = "".join(one.char for one in chars)
        for role in self._roles:
            if role.spaces != spaces:
                continue
            at = line.find(role.needle)
            while at >= 0:
                end = at + len(role.needle)
                if role.fits(_beside(chars, at - 1, at), _beside(chars, end, end - 1)):
                    yield chars[at].start, chars[end - 1].end
                at = line.find(role.needle, at + 1)
        if not spaces:
            for at in range(len(line) - PIECE_LENGTH + 1):
                if line[at : at + PIECE_LENGTH] in self._pieces:
                    yield chars[at].start, chars[at + PIECE_LENGTH - 1].end
            yield from self._cut(text, chars, line)

    def _cut(self, text: str, chars: list[_Char], line: str) -> Iterator[tuple[int, int]]:
        """A secret that begins at the end of the text."""
        line = _UNFINISHED.sub("", line)
        for role in self._roles:
            for length in range(min(len(role.needle) - 1, len(line)), CUT_LENGTH_MIN - 1, -1):
                at = len(line) - length
                if line.endswith(role.needle[:length]) and (length > LONG_LENGTH or role.begins(_beside(chars, at - 1, at))):
                    yield chars[at].start, len(text)
                    break


def secrets_of(text: str, service: Any = None) -> Secrets:
    """What an address holds, as it was written and as its service reads it. Hosts, ports and recipients of mail are no secrets."""
    values: set[str] = set()
    parts: set[str] = set()
    shown = service.url(privacy=True).partition("?")[0].lower() if service else ""
    own = service.url(privacy=False) if service else ""
    for url in {*_URL.findall(text), own}:
        head, _, query = url.partition("://")[2].partition("?")
        place, _, path = head.partition("/")
        userinfo, _, host = place.rpartition("@")
        user, _, password = userinfo.partition(":")
        values |= {userinfo, f"{unquote(user)}:{unquote(password)}" if password else unquote(user), unquote(password)}
        parts.add(unquote(user))
        name = re.sub(r":\d+$", "", host)
        if name.lower() not in shown and (url == own or not _HOST.fullmatch(name)):  # Some have a token in the place of a host.
            values |= {host, *host.split(":"), unquote(host)}
        if "@" in path and ":" in place and not userinfo:  # A password may hold a slash that was not escaped.
            values |= set(path.rpartition("@")[:1])
        whole = [path, path.rstrip("/")] if "/" in path.strip("/") and not _ADDRESS.search(unquote(path)) else []
        values |= {one for one in whole if len(one) > LONG_LENGTH}
        parts |= {one for part in path.split("/") for one in (part, unquote(part))}
        values |= set(_parameters(query))
    secret = {one for one in values if one.strip(":/ ")}
    return Secrets(secret, {one for one in parts - secret if one.strip(":/# @+") and not _ADDRESS.fullmatch(unquote(one))})


def _parameters(query: str) -> Iterator[str]:
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        name, texts = unquote(name), {value, unquote(value), unquote_plus(value)}
        if not value or _SETTING.fullmatch(value) or _OPEN.fullmatch(name):
            continue
        passed_on = name[:1] in "+-:" and len(value) >= WORD_LENGTH_MIN  # Headers and the like, which the operator made up.
        coded = len(value) >= LONG_LENGTH and (not _WORD.fullmatch(value) or len(value) > OPTION_LENGTH_MAX)
        told = any(_ADDRESS.fullmatch(text) for text in texts)
        if SECRET in scrubbed(f"?{name}={value}") or ((passed_on or coded) and not told):
            yield from texts


def _add(roles: dict[str, _Role], form: str, *, placed: bool = False, whole: bool = False) -> None:
    folded = form.casefold()
    tight = "".join(folded.split())
    short = len(tight) < LONG_LENGTH
    needle = folded.strip() if short else tight
    if needle:
        roles[needle] = _Role(needle, spaces=short, whole=short or placed or whole, placed=placed)


def _forms(value: str) -> Iterator[str]:
    """A secret in every code that is not read back from a text by itself, and each of them backwards."""
    for form in _coded(value):
        yield form
        if len(form) >= LONG_LENGTH:
            yield form[::-1]


def _coded(value: str) -> Iterator[str]:
    yield value
    said = [_Char(char, place, place) for place, char in enumerate(value)]
    for _ in range(PASSES):  # What it seems to escape itself is read too, where the text around it is.
        said = list(_read(said))
        yield "".join(one.char for one in said)
    yield quote(value, safe="")
    yield value.replace(" ", "+")
    data = value.encode(errors="surrogatepass")
    yield data.decode("latin-1")
    yield value.encode("latin-1", "replace").decode(errors="replace")
    if len(data) > 1:
        yield from (data.hex(), data.hex(":"), data.hex("-"), ",".join(map(str, data)))
    for code in (base64.b64encode, base64.urlsafe_b64encode, base64.b32encode):
        yield code(data).decode()
        yield code(data).decode().rstrip("=")
        for ahead in (
            range(3) if len(data) > LONG_LENGTH and code is not base64.b32encode else ()
        ):  # Within a longer text that was coded as a whole.
            yield code(b"\0" * ahead + data).decode()[ahead + (ahead > 0) : 8 * (ahead + len(data)) // 6]


def _pieces(needle: str) -> Iterator[str]:
    for at in range(len(needle) - PIECE_LENGTH + 1):
        piece = needle[at : at + PIECE_LENGTH]
        if not piece.isalpha() and piece[0].isalnum() and piece[-1].isalnum():
            yield piece


def _finished(said: list[_Char]) -> list[_Char]:
    """Without what may be the start of an escaped character, cut at the end of the text."""
    unfinished = _UNFINISHED.search("".join(one.char for one in said[-UNFINISHED_LENGTH_MAX:]))
    return said[: unfinished.start() - len(said[-UNFINISHED_LENGTH_MAX:])] if unfinished else said


def _read(said: list[_Char]) -> Iterator[_Char]:
    """The characters that others stand for."""
    line = "".join(one.char for one in said)
    place = 0
    for match in _TOKEN.finditer(line):
        yield from said[place : match.start()]
        start, end = said[match.start()].start, said[match.end() - 1].end
        for char in _meant(match[0]):
            yield _Char(char, start, end)
        place = match.end()
    yield from said[place:]


def _meant(token: str) -> str:
    if token[:2] == "%u":
        return chr(int(token[2:], 16))
    if token[0] in "%=":
        data = bytes.fromhex(token.replace(token[0], ""))
        try:
            return data.decode()
        except UnicodeDecodeError:
            return data.decode("latin-1")
    if token[0] == "&":
        return html.unescape(token)
    if token[1] in "Uux" and len(token) > 2:
        code = int(token[2:].strip("{}"), 16)
        return chr(code) if code <= sys.maxunicode else token
    if len(token) > 2:
        return chr(int(token[1:], 8))
    return _NAMED.get(token[1], token[1])


def _beside(chars: list[_Char], place: int, neighbour: int) -> str:
    """The character at a place; none where there is none, or where white space is between it and its neighbour."""
    if not 0 <= place < len(chars):
        return ""
    one, other = sorted((chars[place], chars[neighbour]), key=lambda char: char.start)
    return chars[place].char if one.end >= other.start else ""


def _counts(char: str) -> bool:
    """Whether a character is more than a gap between two others."""
    return char.isprintable() and not char.isspace()


def _wordy(char: str) -> bool:
    return char.isalnum() or char == "_"


def _marked(text: str, found: list[tuple[int, int]]) -> str:
    joined: list[tuple[int, int]] = []
    for start, end in sorted(found):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    edges = [0, *(edge for span in joined for edge in span), len(text)]
    return BLANK.join(text[start:end] for start, end in list(pairwise(edges))[::2])
