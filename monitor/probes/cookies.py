"""Cookies of one probe (RFC 6265): what a target sets on one hop it gets back on the next, and nobody else does."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from http.cookiejar import http2time  # type: ignore[attr-defined]
from itertools import islice

import httpx

COOKIES_MAX = 50
"""Cookies of one probe."""
COOKIE_LINES_MAX = 100
"""Set-Cookie lines of one response."""
COOKIE_BYTES_MAX = 4_096
COOKIE_LINE_BYTES_MAX = 8_190
"""Longest Cookie header; servers refuse longer ones."""

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_SHORT_YEAR = re.compile(r"(\d[- ][A-Za-z]{3}[- ])([7-9]\d)(?!\d)")
"""Years 70 to 99 are of the last century (RFC 6265, 5.1.1)."""
_MAX_AGE = re.compile(rb"-?[0-9]+")


@dataclass(frozen=True, slots=True)
class _Cookie:
    name: bytes
    value: bytes
    domain: str
    host_only: bool
    path: str
    secure: bool
    expires_ms: int | None

    def goes_to(self, url: httpx.URL, now_ms: int) -> bool:
        host, path = _host(url), url.raw_path.decode("ascii").partition("?")[0]
        return (
            (host == self.domain if self.host_only else _within(host, self.domain))
            and (path == self.path or (path.startswith(self.path) and (self.path.endswith("/") or path[len(self.path)] == "/")))
            and (not self.secure or url.scheme == "https")
            and (self.expires_ms is None or self.expires_ms > now_ms)
        )


class CookieJar:
    """Lives as long as one attempt."""

    def __init__(self) -> None:
        self._cookies: dict[tuple[bytes, str, str], _Cookie] = {}

    def take(self, url: httpx.URL, lines: Iterable[bytes], now_ms: int) -> None:
        """Keep what the Set-Cookie lines of a response from `url` set; a line that breaks the rules sets nothing."""
        for line in islice(lines, COOKIE_LINES_MAX):
            cookie = _parsed(url, line, now_ms) if len(line) <= COOKIE_BYTES_MAX else None
            if cookie is None:
                continue
            key = (cookie.name, cookie.domain, cookie.path)
            if cookie.expires_ms is not None and cookie.expires_ms <= now_ms:
                self._cookies.pop(key, None)
            elif key in self._cookies or len(self._cookies) < COOKIES_MAX:
                self._cookies[key] = cookie

    def line(self, url: httpx.URL, own: bytes, now_ms: int) -> bytes:
        """The value of the Cookie header for a request to `url`, after the `own` one that an operator set; empty where there is none.

        What the target has set since replaces an own cookie of that name.
        """
        sent = [cookie for cookie in self._cookies.values() if cookie.goes_to(url, now_ms)]
        sent.sort(key=lambda cookie: -len(cookie.path))  # RFC 6265, 5.4
        names = {cookie.name for cookie in sent}
        pairs = [pair for part in own.split(b";") if (pair := part.strip()) and pair.partition(b"=")[0] not in names]
        room = COOKIE_LINE_BYTES_MAX - sum(len(pair) + 2 for pair in pairs)
        for cookie in sent:
            pair = cookie.name + b"=" + cookie.value
            room -= len(pair) + 2
            if room >= 0:
                pairs.append(pair)
        return b"; ".join(pairs)


def _parsed(url: httpx.URL, line: bytes, now_ms: int) -> _Cookie | None:
    pair, *attributes = line.split(b";")
    name, equals, value = (part.strip() for part in pair.partition(b"="))
    if not equals or not name or _CONTROL.search(pair):
        return None
    host, path = _host(url), url.raw_path.decode("ascii").partition("?")[0]
    domain, path = "", path.rpartition("/")[0] or "/"
    secure, expires_ms, max_age = False, None, None
    for attribute in attributes:
        key, _, text = (part.strip() for part in attribute.partition(b"="))
        match key.lower():
            case b"domain":
                domain = text.decode("latin-1").lower().removeprefix(".")
            case b"path" if text.startswith(b"/"):
                path = text.decode("latin-1")
            case b"secure":
                secure = True
            case b"max-age" if _MAX_AGE.fullmatch(text) and len(text) <= 12:
                max_age = int(text)
            case b"expires" if (seconds := http2time(_SHORT_YEAR.sub(r"\g<1>19\2", text.decode("latin-1")))) is not None:
                expires_ms = int(seconds * 1000)
    if domain and domain != host and not ("." in domain and _within(host, domain)):
        return None
    if max_age is not None:  # It goes before Expires (RFC 6265, 5.3).
        expires_ms = now_ms + max_age * 1000
    return _Cookie(name, value, domain or host, not domain, path, secure, expires_ms)


def _host(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii").removesuffix(".")


def _within(host: str, domain: str) -> bool:
    """Whether a host is the domain or one of its subdomains; an address has none."""
    if host == domain:
        return True
    if not host.endswith("." + domain):
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False
