"""Answers of services: how much is read of them, and which redirects are followed. Here are our guards on requests and smtplib."""

from __future__ import annotations

import contextlib
import http.client
import smtplib
import threading
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy

from monitor.core.said import clean
from monitor.probes.decode import UnsupportedCodingError, decoder_for
from monitor.probes.resolver import literal
from workers.receivers.wire import WIRE, Wire

ANSWER_BYTES_MAX = 262_144
"""Read of one answer, before and after its content coding is undone; the rest is left unread."""
BODY_TIMEOUT_S = 5.0
"""For reading all of a body. Then what came counts."""
REDIRECTS_MAX = 5
READ_BYTES = 16_384

_WITHOUT_BODY = ("GET", "HEAD")
_INTERIM = range(102, 200)
"""Statuses of heads that only announce the answer. (http.client reads on after 100, and 101 is an answer.)"""
_REDIRECTS = range(300, 400)
_NO_REDIRECT = 304
_KEEPS_METHOD = (307, 308)
_FOR_EVER = (301, 308)


def guard() -> None:
    """Put the answers that plugins read under our limits, where something is sent by us."""
    _guard_heads()
    _guard_answers()
    _guard_redirects()
    _guard_replies()


def _guard_heads() -> None:
    original = http.client.HTTPResponse._read_status  # type: ignore[attr-defined]

    def read_status(self: Any) -> Any:
        answer = original(self)
        while WIRE.get() is not None and answer[1] in _INTERIM:
            http.client.parse_headers(self.fp)
            answer = original(self)
        return answer

    http.client.HTTPResponse._read_status = read_status  # type: ignore[attr-defined]


def _guard_answers() -> None:
    original = HTTPAdapter.send

    def send(self: HTTPAdapter, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        wire = WIRE.get()
        if wire is None:
            return original(self, request, **kwargs)
        host = urlsplit(request.url or "").hostname or ""
        if literal(host) and select_proxy(request.url or "", kwargs.get("proxies")):
            wire.judge(host)  # The proxy connects to it: all that can be judged here is what is written.
        wire.heard.asks()
        response = original(self, request, **kwargs)
        body = _read(response, wire)
        response._content, response._content_consumed = body, True
        response.encoding = response.encoding or "utf-8"
        wire.heard.answered(response.status_code, response.reason or "", body, response.headers.get("Retry-After", ""))
        return response

    HTTPAdapter.send = send  # type: ignore[method-assign, assignment]


def _read(response: requests.Response, wire: Wire) -> bytes:
    """The start of an answer's body. Where it breaks off or drips, what came counts: the service has said by its status what it did."""
    enough = threading.Timer(BODY_TIMEOUT_S, wire.hang_up)  # One read may wait for ever: for a size of a chunk, for trailers.
    enough.daemon = True
    with contextlib.suppress(RuntimeError):  # The machine has no room for it now: the send's own deadline ends it.
        enough.start()
    try:
        data = _decoded(response.headers.get("Content-Encoding", ""), _start(response.raw))
    finally:
        enough.cancel()
        response.raw.close()
        response.raw.release_conn()
    return data


def _start(raw: Any) -> bytes:
    data = bytearray()
    with contextlib.suppress(Exception):  # urllib3, http.client, ssl and socket each have errors of their own.
        while len(data) < ANSWER_BYTES_MAX and (piece := raw.read1(READ_BYTES, decode_content=False)):
            data += piece
    return bytes(data[:ANSWER_BYTES_MAX])


def _decoded(codings: str, data: bytes) -> bytes:
    """What a body says; as it came, where that cannot be told."""
    try:
        decoder = decoder_for(codings)
        return data if decoder is None else decoder.decode(data, ANSWER_BYTES_MAX)
    except (UnsupportedCodingError, ValueError):
        return data


def _guard_redirects() -> None:
    original = requests.Session.get_redirect_target

    def get_redirect_target(self: requests.Session, resp: requests.Response) -> str | None:
        wire = WIRE.get()
        if wire is None:
            return original(self, resp)
        location = original(self, resp) or _unknown_redirect(resp)
        if location is None:
            return None
        self.max_redirects = REDIRECTS_MAX
        where, why = _led_to(resp, location)
        told = f"HTTP {resp.status_code} {clean(resp.reason or '')} redirects to {where}"
        if why:
            wire.refusal, wire.permanent = f"{told}, {why}", resp.status_code in _FOR_EVER
            raise requests.RequestException(wire.refusal)
        wire.heard.redirected = told
        return location

    requests.Session.get_redirect_target = get_redirect_target  # type: ignore[method-assign, assignment]


def _unknown_redirect(response: requests.Response) -> str | None:
    """Where an answer leads whose status is no redirect to requests, such as 300 or 305."""
    known = response.status_code in _REDIRECTS and response.status_code != _NO_REDIRECT
    return response.headers.get("Location") if known else None


def _led_to(response: requests.Response, location: str) -> tuple[str, str]:
    """Where a redirect leads, and why it is not followed, or "": it is followed where the message goes along as it is."""
    request = response.request
    try:
        here, there = urlsplit(request.url or ""), urlsplit(urljoin(request.url or "", location))
        port = f":{there.port}" if there.port is not None else ""
    except ValueError:
        return "an address that cannot be read", "which is not followed"
    where = clean(f"{there.scheme}://{there.hostname or ''}{port}")
    if there.scheme not in {"http", "https"}:
        return where, "which is not HTTP"
    if here.scheme == "https" and there.scheme == "http":
        return where, "which is not encrypted"
    bare = request.method in _WITHOUT_BODY and not request.body
    if response.status_code not in _KEEPS_METHOD and not (bare and response.is_redirect):
        return where, "which would not be sent the message: only 307 and 308 keep it"
    if bare and here.query and here.query != there.query:
        return where, "which would not be sent the message: the query is another"
    return where, ""


def _guard_replies() -> None:
    original = smtplib.SMTP.getreply

    def getreply(self: Any) -> Any:
        if WIRE.get() is not None and self.file is None and self.sock is not None:
            self.file = _Capped(self.sock.makefile("rb"))
        return original(self)

    smtplib.SMTP.getreply = getreply  # type: ignore[method-assign]


class _Capped:
    """What an SMTP server says, until it has said too much: a reply may have any number of lines."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._read_bytes = 0

    def readline(self, size: int) -> bytes:
        line: bytes = self._file.readline(size)
        self._read_bytes += len(line)
        if self._read_bytes > ANSWER_BYTES_MAX:
            raise OSError(f"the server says more than {ANSWER_BYTES_MAX} bytes")
        return line

    def close(self) -> None:
        self._file.close()
