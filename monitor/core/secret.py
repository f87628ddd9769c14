"""What may be shown of secrets, and how people refer to them instead of writing them out.

`scrubbed` is for every text that somebody else wrote or could have shaped: a target's answer, a service's refusal, the URL of a
redirect. A reference is `env:NAME` or `file:PATH`; the worker that needs the value reads it there. References are no secrets:
they are shown, stored and exported as they are.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

SECRET = "<secret>"  # noqa: S105 - what is shown in a secret's place

_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:.+")
_USERINFO = re.compile(r"(?<=//)([^/?#\s:@]*):(?!\d+(?:[/?#]|$)).*(?=@)")  # A password may hold a slash that was not escaped.
_PASSWORD_PARAMETER = re.compile(r"(?<=[?&])((?:ssl_)?password=)[^&#\s]+")
_SENSITIVE = re.compile(r"auth|cookie|token|secret|passw|api-?key|credential|signature", re.IGNORECASE)
_SENSITIVE_PARAMETER = re.compile(
    r"passphrase|sess(?:ion|id)|jwt|(?:api|access|account|private|shared)[-_.]?key|(?:^|[-_.])(?:key|sig|pass|pwd|pw|sid|otp)$",
    re.IGNORECASE,
)
_HARMLESS = re.compile(r"authors?|authority|www-authenticate", re.IGNORECASE)

# What a text may look like that holds a secret. Every repetition is possessive or bounded: the text may be hostile.
_ANY_USERINFO = re.compile(r"""(?<=//)(?:[^\s/?#"'<>\\]{0,1000}@|[^\s/?#@"'<>\\:]{0,1000}:(?!\d+(?:[/?#"'<>\s]|$))[^\s"'<>]{0,1000}@)""")
_ESCAPED_USERINFO = re.compile(r"""(?<=%2f%2f)(?:(?!%2f)[^\s/?#&"'<>]){0,1000}?%40""", re.IGNORECASE)
_HEADER = re.compile(
    r"""(?<![\w/.-])((?:proxy-)?authorization|(?:set-)?cookie2?)(["']?\s*+:\s*+["']?)(?!\d+(?:/|$))[^\r\n"'<>]++""", re.IGNORECASE
)
_BEARER = re.compile(
    r"""\b(bearer|negotiate)([ \t]++)(?!(?:auth\w*|realm|token|scheme|credentials?|challenge|error|access|is|was)\b)[^\s,;"'<>()]++""",
    re.IGNORECASE,
)
_BASIC = re.compile(r"\b((?i:basic))([ \t]++)(?=[a-z]*[A-Z0-9+/=])(?!realm=)[A-Za-z0-9+/_-]++=*+")
_QUOTE = r"""(?:\\{0,9}["']|&quot;|&#3[49];|%22)"""
_TIGHT = r"(?i:(?<=token)|(?<=secret)|(?<=password)|(?<=passwd)|(?<=pwd)|(?<=api[-_]key)|(?<=apikey)):(?![\d\s/:<])"
_NAME = re.compile(rf"(?<![\w.%-])([\w.%-]++)(?:(?:{_QUOTE}?\s*+=>?|{_QUOTE}\s*+:|:(?=\s))\s*+(?:\[\s*+)?{_QUOTE}?|{_TIGHT})")
_VALUE = re.compile(r"""(?<=")(?:\\.|[^"\r\n\\])++|(?<=')(?:\\.|[^'\r\n\\])++|(?<=;)[^&\s]++|[^\s&;,#"'<>)\]}\\]++""")
_ESCAPED_NAME = re.compile(r"(?:(?<=%3f)|(?<=%26)|(?<![\w.%-]))([\w.-]++)%3d", re.IGNORECASE)
_ESCAPED_VALUE = re.compile(r"""(?:(?!%26|%23)[^\s&#"'<>])++""", re.IGNORECASE)


def is_reference(text: str) -> bool:
    """Whether the text names a place of a secret (`env:NAME`, `file:PATH`) in the place of one."""
    return _REFERENCE.fullmatch(text) is not None


def is_sensitive(name: str) -> bool:
    """Whether a header or parameter of this name usually carries a secret."""
    return _SENSITIVE.search(name) is not None


def hide_password(url: str) -> str:
    """The URL with its password replaced, before the host or as a parameter; other texts unchanged."""
    return _PASSWORD_PARAMETER.sub(rf"\1{SECRET}", _USERINFO.sub(rf"\1:{SECRET}", url))


def scrubbed(text: str) -> str:
    """A text that somebody else wrote, with what looks like a secret replaced: the one function for this, here and for services' answers.

    Replaced are user and password of any URL, values whose names are sensitive (`?token=…`, `"password": "…"`, `api_key: …`,
    `X-Amz-Signature=…`), credentials after `Bearer` and `Basic`, and all of an `Authorization` or `Cookie` line. It rather hides too
    much than too little. Call it before a text is cut or escaped: half a secret no longer looks like one.
    """
    if "@" in text or "%40" in text:
        text = _ESCAPED_USERINFO.sub(f"{SECRET}%40", _ANY_USERINFO.sub(f"{SECRET}@", text))
    if ":" in text or "=" in text:
        text = _HEADER.sub(rf"\1\2{SECRET}", text)
    text = _BASIC.sub(rf"\1\2{SECRET}", _BEARER.sub(rf"\1\2{SECRET}", text))
    if "%3" in text:
        text = _without_values(text, _ESCAPED_NAME, _ESCAPED_VALUE)
    return _without_values(text, _NAME, _VALUE) if ":" in text or "=" in text else text


def _without_values(text: str, names: re.Pattern[str], values: re.Pattern[str]) -> str:
    """The text without the values of sensitive names; the value of any other name may hold names itself (`url=http://h/?token=…`)."""
    pieces, at = [], 0
    for name in names.finditer(text):
        if name.start() < at or not _is_secret(unquote(name[1])):
            continue
        if value := values.match(text, name.end()):
            pieces += [text[at : name.end()], SECRET]
            at = value.end()
    return "".join(pieces) + text[at:]


def _is_secret(name: str) -> bool:
    return not _HARMLESS.fullmatch(name) and (is_sensitive(name) or _SENSITIVE_PARAMETER.search(name) is not None)


def hide_values(value: Any) -> Any:
    """The same value with every text in it replaced, except references and the names of a mapping."""
    if isinstance(value, dict):
        return {key: hide_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [hide_values(item) for item in value]
    return value if isinstance(value, str) and is_reference(value) else SECRET
