"""What others say: no secret of an address remains in what is shown of an answer, and nothing of theirs is live in a service's language."""

from __future__ import annotations

import base64
import html
import json
import re
import string
from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import quote

from hypothesis import assume, given
from hypothesis import strategies as st

from alert_rules.rules.template import plain
from tests.fuzz.play import cases
from workers.receivers import plugins
from workers.receivers.blank import BLANK, secrets_of
from workers.receivers.markup import NOTHING, unlinked, unmarked

LETTERS = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
PUNCTUATED = LETTERS + "-_.~!$'()*,;\"<>&\\ äß€%+=@:/?#"
CANARIES = st.text(LETTERS, min_size=8, max_size=40)
PASSWORDS = st.text(PUNCTUATED, min_size=6, max_size=30).filter(lambda text: text.strip() == text and "  " not in text)
SHORT = st.text(LETTERS, min_size=3, max_size=5).map(lambda text: f"q{text}7")


def _mixed(text: str) -> str:
    return "".join(f"%{ord(char):02x}" if number % 3 == 0 and char.isascii() else char for number, char in enumerate(text))


CODES: list[Callable[[str], str]] = [
    str,
    lambda text: quote(text, safe=""),
    lambda text: quote(text, safe="").lower(),
    lambda text: quote(quote(text, safe=""), safe=""),
    lambda text: quote(text, safe="").replace("%20", "+"),
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1].replace("/", "\\/"),
    lambda text: json.dumps(json.dumps(text))[1:-1],
    lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
    html.escape,
    lambda text: "".join(f"&#{ord(char)};" for char in text),
    lambda text: "".join(f"&#x{ord(char):X};" for char in text),
    lambda text: html.escape(quote(text, safe="")),
    lambda text: json.dumps(html.escape(text))[1:-1],
    lambda text: repr(text)[1:-1],
    lambda text: base64.b64encode(text.encode()).decode(),
    lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    lambda text: text.encode().hex(),
    lambda text: text.encode().hex().upper(),
    str.upper,
    str.lower,
    _mixed,
]
BROKEN: list[Callable[[str], str]] = [
    str,
    lambda text: f"{text[:5]}\n   {text[5:]}" if len(text) > 8 else text,
    lambda text: f"{text[:3]}\r\n{text[3:6]}\t{text[6:]}" if len(text) > 8 else text,
]
AROUND = [
    "{}",
    "no such thing: {}",
    '{{"error": "{}"}}',
    "<p>{}</p>",
    "a={}&b=1",
    "HTTP 404 Not Found '{}'",
    "({})",
    "/{}/",
    "user {} is unknown",
]


@cache
def _apprise() -> Any:
    return plugins.apprise().Apprise


def _remains(text: str, canary: str) -> str:
    """The first form in which a canary, or as much of one as tells something, is in a text."""
    seen = "".join(text.split()).casefold()
    for form in ("".join(code(canary).split()).casefold() for code in CODES):
        if len(form) >= 4 and form in seen:
            return form
    return ""


def _address(kind: str, user: str, password: str, token: str, path: str) -> str:
    userinfo = f"{quote(user, safe='')}:{quote(password, safe='')}@"
    return {
        "json": f"json://{userinfo}127.0.0.1:8080/{path}/hook?+X-Token={token}",
        "form": f"form://{userinfo}chat.example/{path}?-key={token}",
        "ntfy": f"ntfy://{userinfo}127.0.0.1:8080/{path}?token={token}",
        "mail": f"mailto://{userinfo}smtp.example?to=ops@example.org&token={token}&secret={path}",
        "gotify": f"gotify://127.0.0.1:8080/{path}/{token}?secret={quote(password, safe='')}",
        "mattermost": f"mmost://{quote(user, safe='')}@127.0.0.1:8080/{path}/{token}?secret={quote(password, safe='')}",
        "nobody": f"nosuch://{userinfo}host.example/{path}?token={token}",
    }[kind]


def _values(kind: str, user: str, password: str, token: str, path: str) -> list[str]:
    paired = [] if kind in {"gotify", "mattermost"} else [f"{user}:{password}"]
    return [password, token, path, *paired]


KINDS = st.sampled_from(["json", "form", "ntfy", "mail", "gotify", "mattermost", "nobody"])
ONE_ECHO = st.tuples(st.integers(0, 3), st.sampled_from(CODES), st.sampled_from(BROKEN), st.sampled_from(AROUND))
ECHOES = st.lists(ONE_ECHO, min_size=1, max_size=4)
Echo = tuple[int, Callable[[str], str], Callable[[str], str], str]


@cases(90)
@given(KINDS, CANARIES, st.one_of(PASSWORDS, SHORT), CANARIES, CANARIES, ECHOES)
def test_no_secret_of_an_address_remains_in_an_answer(
    kind: str, user: str, password: str, token: str, path: str, echoes: list[Echo]
) -> None:
    url = _address(kind, user, password, token, path)
    secrets = secrets_of(url, _apprise().instantiate(url))
    values = _values(kind, user, password, token, path)
    said = [
        around.format(broken(code(value)) if len(value) > 5 else code(value))  # White space in a short one is taken for what it is.
        for which, code, broken, around in echoes
        for value in [values[which % len(values)]]
    ]
    shown = secrets.without(" | ".join(said))
    for value in values:
        assert not (left := _remains(shown, value)), (left, shown)


@cases(40)
@given(KINDS, CANARIES, PASSWORDS, CANARIES, CANARIES, st.integers(0, 3), st.sampled_from(CODES), st.integers(6, 200))
def test_a_secret_that_is_cut_at_the_end_of_an_answer_is_blanked(
    kind: str, user: str, password: str, token: str, path: str, which: int, code: Callable[[str], str], length: int
) -> None:
    url = _address(kind, user, password, token, path)
    values = _values(kind, user, password, token, path)
    value = values[which % len(values)]
    written = code(value)[:length]
    assume(len(written) * len(value) >= 6 * len(code(value)))
    shown = secrets_of(url, _apprise().instantiate(url)).without(f"it says: {written}")
    assert BLANK in shown
    assert len(shown.removeprefix("it says: ").replace(BLANK, "")) < 6, shown


@cases(40)
@given(KINDS, CANARIES, PASSWORDS, CANARIES, CANARIES, st.text(max_size=600))
def test_any_answer_is_one_line_of_a_limited_length(kind: str, user: str, password: str, token: str, path: str, said: str) -> None:
    url = _address(kind, user, password, token, path)
    shown = secrets_of(url).blank(said)
    assert len(shown) <= 300
    assert shown.isprintable()
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)


MENTIONS = ["@everyone", "@here", "@all", "@channel", "@room", "<!channel>", "<!subteam^Sab>", "<@Uabc>", "<@&4>", "<#room>", "<users/all>"]
LINKS = [
    "<http://e.test|x>",
    "[click](http://evil.test)",
    "![x](http://evil.test/p.png)",
    "[x][y]",
    "[x]: http://evil.test",
    "<img src=x>",
    "</p>",
]
MARKS = [
    "**bold**",
    "__bold__",
    "*it*",
    "_it_",
    "~~no~~",
    "||spoiler||",
    "`code`",
    "```",
    "$x$",
    "$$x$$",
    "<!--",
    "&lt;b&gt;",
    ":smile:",
    "a_b_c",
]
LINES = ["> quoted", "# head", "#tag", "- item", "+ item", "* item", "1. one", "12) two", "---", "===", "| a | b |", "\n", "\n\n", "    "]
PIECES = [*MENTIONS, *LINKS, *MARKS, *LINES, *"@<](![", "\\", "\\[", "\\*"]
DATA = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=8).map("".join)
TAGS = re.compile(r"</?(?!p>|br ?/?>)[a-z][^>]*>", re.IGNORECASE)
LIVE = re.compile(r"@(?=\w)|<(?=[^\s\u200b])|\]\(|\]\[|\]:|!\[|[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@cache
def _markdown() -> Any:
    from markdown import Markdown  # noqa: PLC0415 - apprise brings it

    reader = Markdown(extensions=["markdown.extensions.tables", "markdown.extensions.fenced_code", "markdown.extensions.nl2br"])
    reader.ESCAPED_CHARS = sorted({*reader.ESCAPED_CHARS, *string.punctuation})
    return reader


@cases(120)
@given(DATA, DATA)
def test_nothing_that_others_say_is_live_wherever_it_is_put(one: str, other: str) -> None:
    for said in (unlinked(one) + unlinked(other), f"[firing]{unlinked(one)}", f"Look!{unlinked(one)}", f"x {unlinked(one)}(y)"):
        assert not LIVE.search(said), said
    assert unlinked(one).replace(NOTHING, "") == plain(one).replace(NOTHING, "")


@cases(120)
@given(DATA, DATA)
def test_a_reader_of_markdown_shows_what_others_say_as_they_said_it(one: str, other: str) -> None:
    for said, wanted in ((unmarked(one), one), (f"x: {unmarked(one)} {unmarked(other)}", f"x: {one} {other}")):
        page = _markdown().reset().convert(said)
        assert not TAGS.search(page), (said, page)
        seen = html.unescape(re.sub(r"</?p>|<br ?/?>", " ", page)).replace(NOTHING, "")
        assert " ".join(seen.split()) == " ".join(plain(wanted).replace(NOTHING, "").split()), said
