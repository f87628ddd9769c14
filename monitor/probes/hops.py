"""The requests of an HTTP probe: the endpoint's own, and those that redirects ask for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from monitor.core.endpoint import DEFAULT_PORTS, PORT_MAX
from monitor.core.outcome import FailureClass
from monitor.core.said import clean
from monitor.probes.cookies import CookieJar
from monitor.probes.decode import accepted
from monitor.probes.host import canonical
from monitor.probes.http_options import secret
from monitor.probes.network import Destination

SCHEMES = ("http", "https")
USER_AGENT = "watchkeeper"
HOPS_CACHED_MAX = 32
LOCATION_BYTES_MAX = 16_384
"""Usual servers take no longer request, and it is read on the event loop."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})

_PRIVATE = frozenset({"authorization", "cookie", "proxy-authorization"})
_AUTHORITY = re.compile(r"(?:[^:/?#]*+:)?+//([^/?#]*+)")
_PORT = re.compile(r"(?<=:)(?!-?[0-9]*$)[^:@\]]*$")
"""What is no port, in a port's place: Python reads `+80` and `8_0` as one, and digits of other scripts."""


@dataclass(slots=True)
class Hop:
    """One URL of a redirect chain, ready to be sent; `credentials` tells whether it carries the endpoint's own.

    `shown` leaves out the query, which may hold a token.
    """

    url: httpx.URL
    shown: str
    to: Destination
    request: bytes
    method: str
    credentials: bool


Refusal = tuple[FailureClass, str]
"""Why a redirect is not followed."""


class Hops:
    """Requests of one endpoint, made ahead where that is possible. Raises ValueError where its options refer to what is not there."""

    def __init__(self, url: httpx.URL, options: Mapping[str, Any], *, want_body: bool) -> None:
        self._url = url
        self._max: int = options["max_redirects"]
        self.follows = REDIRECTS if self._max else frozenset()
        self._verify: bool = options["verify_tls"]
        self._server_name: str = options["server_name"] or ""
        self._body: bytes = options["body"].encode()
        self._want_body = want_body
        self._headers: list[tuple[str, str, bool]] = [(name, *secret(value)) for name, value in options["headers"].items()]
        self._method: str = options["method"]
        self.first = self._hop(url, self._method, credentials=True)
        self._made: dict[tuple[str, str, bool], Hop] = {}

    def follow(self, hop: Hop, hops: int, status: int, location: bytes, *, jar: CookieJar, now_ms: int) -> Hop | Refusal:
        """Return the next hop, after so many; or why there is none, which is the target's failure."""
        if len(location) > LOCATION_BYTES_MAX:
            return FailureClass.PROTOCOL, f"redirect to what is longer than {LOCATION_BYTES_MAX} bytes"
        try:
            text = _text(location)
            url = hop.url.join(text).copy_with(userinfo=b"", fragment=None)
            if text.partition("#")[0] == "?":  # It takes the query away (RFC 3986, 5.2.2).
                url = url.copy_with(query=b"")
        except (httpx.InvalidURL, ValueError):
            return FailureClass.PROTOCOL, "redirect to what is not a URL"
        if hops == self._max:
            return FailureClass.ASSERTION, f"more than {hops} redirects, the last to {_place(url)}"
        if url.scheme not in SCHEMES:
            return FailureClass.POLICY, f"redirect to {_place(url)}, want http or https"
        flaw = _written(text) or _flaw(url)
        if flaw:
            return FailureClass.PROTOCOL, f"redirect to what is not a URL: {flaw}"
        method = hop.method
        if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
            method = "GET"  # RFC 9110, 15.4; what browsers do
        credentials = hop.credentials and _same_origin(self._url, url)
        cookies = jar.line(url, self._own_cookies() if credentials else b"", now_ms)
        if cookies:
            return self._hop(url, method, credentials=credentials, cookies=cookies)
        key = (str(url), method, credentials)
        known = self._made.get(key)
        if known is None:
            if len(self._made) >= HOPS_CACHED_MAX:
                self._made.clear()
            known = self._made[key] = self._hop(url, method, credentials=credentials)
        return known

    def _own_cookies(self) -> bytes:
        return "; ".join(value for name, value, _ in self._headers if name.lower() == "cookie").encode()

    def _hop(self, url: httpx.URL, method: str, *, credentials: bool, cookies: bytes = b"") -> Hop:
        same_host = url.raw_host == self._url.raw_host
        lines = [f"{method} {url.raw_path.decode('ascii')} HTTP/1.1"]
        sent = {name.lower() for name, *_ in self._headers}
        if not (same_host and "host" in sent):
            lines.append(f"Host: {url.netloc.decode('ascii')}")
        if "user-agent" not in sent:
            lines.append(f"User-Agent: {USER_AGENT}")
        if "accept" not in sent:
            lines.append("Accept: */*")
        if self._want_body and "accept-encoding" not in sent:
            lines.append(f"Accept-Encoding: {accepted()}")
        for name, value, private in self._headers:
            lower = name.lower()
            if (lower == "host" and not same_host) or (lower == "cookie" and cookies):
                continue
            if credentials or not (private or lower in _PRIVATE):
                lines.append(f"{name}: {value}")
        kept = method == self._method and (method not in ("GET", "HEAD") or url == self._url)
        body = self._body if kept else b""
        if body or method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(body)}")
        lines.append("Connection: close")
        request = "\r\n".join(lines).encode("utf-8") + (b"\r\nCookie: " + cookies if cookies else b"") + b"\r\n\r\n" + body
        to = Destination(
            host=url.raw_host.decode("ascii"),
            port=url.port or DEFAULT_PORTS[url.scheme],
            tls=url.scheme == "https",
            verify=self._verify,
            server_name=self._server_name if same_host else "",
        )
        shown = str(url.copy_with(query=None)) + ("?…" if url.query else "")
        return Hop(url, clean(shown), to, request, method, credentials)


def http_url(text: str) -> httpx.URL:
    """Return an http or https URL. Raises ValueError with a hint."""
    hint = "write for example http://127.0.0.1:8080/health"
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise ValueError(f"not a URL ({error}); {hint}") from None
    if url.scheme not in SCHEMES or not url.raw_host:
        raise ValueError(f"not an http or https URL with a host; {hint}")
    canonical(url.raw_host.decode("ascii"))
    if flaw := _written(text) or _flaw(url):
        raise ValueError(f"not a URL ({flaw}); {hint}")
    return url.copy_with(fragment=None)


def _text(location: bytes) -> str:
    """A Location as text; bytes that are no UTF-8 go back to the target as they came, escaped."""
    try:
        return location.decode("utf-8")
    except UnicodeDecodeError:
        return "".join(chr(byte) if byte < 128 else f"%{byte:02X}" for byte in location)


def _written(text: str) -> str:
    """Return what is wrong with the host and port of a URL as it is written, which none of its parts tells any more; or nothing."""
    authority = _AUTHORITY.match(text)
    if authority is None:
        return ""
    if not authority[1]:
        return "it has no host"
    return "the port is no number" if _PORT.search(authority[1]) else ""


def _flaw(url: httpx.URL) -> str:
    """Return what makes it impossible to connect to where a URL points, or nothing."""
    if url.port is not None and not 0 < url.port <= PORT_MAX:
        return f"the port is not from 1 to {PORT_MAX}"
    try:
        canonical(url.raw_host.decode("ascii"))
    except ValueError as error:
        return str(error).partition(";")[0]
    return ""


def _same_origin(first: httpx.URL, second: httpx.URL) -> bool:
    """Tell whether credentials may travel on: to the same origin, or from http to https of one host on usual ports."""
    if first.raw_host != second.raw_host:
        return False
    if first.scheme == second.scheme:
        return first.port == second.port
    return (first.scheme, first.port, second.scheme, second.port) == ("http", None, "https", None)


def _place(url: httpx.URL) -> str:
    """Scheme and host: the rest of a URL that a target sent may hold secrets, and what is told of a probe is published."""
    return f"{url.scheme}:" if not url.raw_host or _flaw(url) else f"{url.scheme}://{url.netloc.decode('ascii')}"
