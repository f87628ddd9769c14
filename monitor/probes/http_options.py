"""The options of the HTTP prober, each parsed from what a person wrote to one normal form."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monitor.core.durations import parse_duration
from monitor.core.texts import shorten
from monitor.files import read_file
from monitor.probes.base import Option
from monitor.probes.host import canonical
from monitor.probes.pattern import pattern

BODY_LENGTH_MAX = 65_536
METHOD_LENGTH_MAX = 32
REDIRECTS_MAX = 20
SECRET_BYTES_MAX = 16_384

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_STATUS = re.compile(r"([1-5])xx|([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")
_OURS = frozenset({"connection", "content-length", "transfer-encoding", "upgrade", "keep-alive", "te", "trailer", "expect"})


def statuses(text: str) -> frozenset[int]:
    """Return the statuses that a normalised `expect_status` accepts."""
    accepted: set[int] = set()
    for part in text.split(","):
        match = _STATUS.fullmatch(part)
        if match is None:
            raise ValueError(f"{shorten(part)} is not a status; write for example 2xx, 200-299 or 200,204")
        family, first, last = match.groups()
        low, high = (int(family) * 100, int(family) * 100 + 99) if family else (int(first), int(last or first))
        if low > high:
            raise ValueError(f"the range {shorten(part)} is empty; write the lower status first")
        accepted.update(range(low, high + 1))
    return frozenset(accepted)


def _expect_status(value: Any) -> str:
    parts = value if isinstance(value, (list, tuple)) else str(value).split(",")
    text = ",".join(piece.strip().lower() for part in parts for piece in str(part).split(","))
    statuses(text)
    return text


def _method(value: Any) -> str:
    text = str(value).upper()
    if not _TOKEN.fullmatch(text) or len(text) > METHOD_LENGTH_MAX or text == "CONNECT":
        raise ValueError(f"{shorten(value)} is not a method that can be probed with; write for example GET, HEAD or POST")
    return text


def _pairs(value: Any) -> dict[str, Any]:
    """Return header lines, `Name: value` texts or a mapping, as a mapping."""
    if isinstance(value, Mapping):
        pairs = {str(name).strip(): content for name, content in value.items()}
    else:
        pairs = {}
        for line in [value] if isinstance(value, str) else value:
            name, colon, content = str(line).partition(":")
            if not colon and not name.startswith("!"):
                raise ValueError(f"{shorten(line)} is not a header; write it as 'Name: value'")
            pairs[name.strip()] = content.strip() if colon else None
    return pairs


def _headers(value: Any) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, content in _pairs(value).items():
        text = "" if content is None else str(content)
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{shorten(name)} is not a header name; write letters, digits and dashes")
        if name.lower() in _OURS:
            raise ValueError(f"the header {shorten(name)} is set by the prober; leave it out")
        if any(ord(char) < 32 or ord(char) == 127 for char in text):
            raise ValueError(f"the value of header {shorten(name)} has control characters; write it on one line")
        headers[name] = text
    return headers


def _expect_headers(value: Any) -> dict[str, str | None]:
    """Return name -> pattern; None where the header must be absent (`!Name` on the command line, null in a file)."""
    wanted: dict[str, str | None] = {}
    for name, content in _pairs(value).items():
        bare = name.removeprefix("!").strip().lower()
        if not _TOKEN.fullmatch(bare):
            raise ValueError(f"{shorten(name)} is not a header name; write 'Name: regex', or '!Name' where it must be absent")
        absent = name.startswith("!") or content is None or content is False
        wanted[bare] = None if absent else pattern(str(content) if content else ".*")
    return wanted


def _body(value: Any) -> str:
    text = str(value)
    if len(text.encode()) > BODY_LENGTH_MAX:
        raise ValueError(f"the body is longer than {BODY_LENGTH_MAX} bytes; write a shorter one")
    return text


def _boolean(value: Any) -> bool:
    known = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    try:
        return known[str(value).lower()]
    except KeyError:
        raise ValueError(f"{shorten(value)} is neither true nor false; write true or false") from None


def _whole(low: int, high: int) -> Any:
    def parse(value: Any) -> int:
        text = str(value).strip()
        if isinstance(value, bool) or not text.isdecimal() or not low <= int(text) <= high:
            raise ValueError(f"{shorten(value)} is out of range; write a whole number from {low} to {high}")
        return int(text)

    return parse


def _duration_ms(value: Any) -> int:
    # A number is this option's own normal form; text carries its unit.
    ms = value if isinstance(value, int) and not isinstance(value, bool) else parse_duration(str(value))
    if ms < 1:
        raise ValueError("a response takes at least 1ms; write for example 500ms")
    return ms


def _server_name(value: Any) -> str:
    try:
        return canonical(str(value).strip()).removesuffix(".")
    except ValueError:
        raise ValueError(f"{shorten(value)} is not a host name; write for example www.example.com") from None


OPTIONS: tuple[Option, ...] = (
    Option("method", _method, f"Request method, at most {METHOD_LENGTH_MAX} characters.", "GET"),
    Option("headers", _headers, "Request headers; a value may be a reference to a secret: env:NAME or file:PATH.", {}, repeatable=True),
    Option("body", _body, "Request body.", ""),
    Option("expect_status", _expect_status, "Accepted statuses: 2xx, 200-299 or 200,204.", "2xx", repeatable=True),
    Option("expect_body", pattern, "RE2 regular expression that the body must match."),
    Option("expect_body_not", pattern, "RE2 regular expression that the body must not match."),
    Option(
        "expect_headers",
        _expect_headers,
        "Headers that must match 'Name: regex', or be absent '!Name' (null in a file).",
        {},
        repeatable=True,
    ),
    Option("expect_response_time", _duration_ms, "Longest time that an attempt may take, for example 500ms."),
    Option("max_redirects", _whole(0, REDIRECTS_MAX), "Redirects to follow; 0 judges the redirect itself.", 5),
    Option("verify_tls", _boolean, "Whether the certificate must be trusted and name the host.", True),
    Option("server_name", _server_name, "Name to ask for and to verify in TLS, instead of the URL's host."),
    Option("expect_certificate_days", _whole(0, 3650), "Least days until the earliest expiry of what was served, on any hop."),
)


def secret(value: str) -> tuple[str, bool]:
    """Return what a header's value refers to, and whether it is a reference. Raises ValueError with a hint.

    Only workers call this, when they compile a probe: the value itself goes nowhere else.
    """
    kind, colon, name = value.partition(":")
    if kind == "env" and colon:
        if name not in os.environ:
            raise ValueError(f"the environment variable {name!r} is not set; set it for the worker")
        text = os.environ[name]
    elif kind == "file" and colon:
        try:
            text = read_file(Path(name), SECRET_BYTES_MAX).decode().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise ValueError(f"the file {name!r} cannot be read ({reason}); give the worker access to it") from None
    else:
        return value, False
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise ValueError(f"what {value!r} refers to has control characters; a header's value is one line")
    return text, True
