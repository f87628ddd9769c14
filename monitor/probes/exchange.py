"""One HTTP/1.1 request and its response on a connection of its own, with caps on what is kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import httptools

from monitor.core.outcome import FailureClass
from monitor.core.said import got
from monitor.probes.connection import FIRST_BYTE, TRANSFER, Connection
from monitor.probes.decode import Decoder, UnsupportedCodingError, decoder_for
from monitor.probes.network import Destination, Network

HEADER_BYTES_MAX = 65_536
BODY_BYTES_MAX = 1_048_576
WIRE_BYTES_MAX = 8 * BODY_BYTES_MAX
"""Everything received, chunk heads and trailers too, which no other cap counts."""

Headers = list[tuple[bytes, bytes]]


class HttpExchange(Connection):
    """A response as far as it came: `status`, `headers`, `body`.

    The body is decoded and kept only where `want_body` says so. What exceeds `body_max` bytes (after decoding) is
    neither read nor kept: `truncated` tells. `body_bytes` counts what was read.
    """

    __slots__ = (
        "_body_max", "_chunks", "_decoder", "_head_only", "_headers_done", "_parser", "_want_body", "_wire_bytes",
        "body_bytes", "headers", "http_version", "matching_ms", "status", "truncated",
    )  # fmt: skip

    def __init__(
        self,
        network: Network,
        to: Destination,
        request: bytes,
        *,
        head_only: bool = False,
        want_body: bool = False,
        body_max: int = BODY_BYTES_MAX,
        spent: list[float] | None = None,
    ) -> None:
        super().__init__(network, to, request, spent)
        self._head_only, self._want_body, self._body_max = head_only, want_body, body_max
        self._parser: Any = httptools.HttpResponseParser(self)
        self._chunks: list[bytes] = []
        self._decoder: Decoder | None = None
        self._wire_bytes = 0
        self._headers_done = False
        self.headers: Headers = []
        self.status = 0
        self.http_version = ""
        self.body_bytes = 0
        self.truncated = False
        self.matching_ms = 0.0
        """How long it took to match what came."""

    @property
    def body(self) -> bytes:
        """As much of the body as was kept."""
        return b"".join(self._chunks)

    def header(self, name: bytes) -> bytes | None:
        """Return the first value of a header by its lower-case name."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    def _received(self, data: memoryview | bytes) -> None:
        if self.phase == FIRST_BYTE:
            self._enter(TRANSFER)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return  # complete already; the data that follows speak another protocol
        except httptools.HttpParserError as error:
            if not self._waiter.done():
                seen = got(bytes(data)) if self.status == 0 else ""
                self._end(FailureClass.PROTOCOL, f"not a valid HTTP response: {error}{seen}")
            return
        self._wire_bytes += len(data)
        if self._wire_bytes > HEADER_BYTES_MAX and not self._waiter.done():
            if not self._headers_done:
                self._end(FailureClass.PROTOCOL, f"response headers exceed {HEADER_BYTES_MAX} bytes")
            elif self._wire_bytes > WIRE_BYTES_MAX:
                self._end(FailureClass.PROTOCOL, f"response exceeds {WIRE_BYTES_MAX} bytes on the wire")

    def _ended_by_peer(self) -> None:
        if self._headers_done and _until_close(self.headers):
            self._complete()
        else:
            seen = "before the end of the body" if self._headers_done else "before the end of the headers"
            self._end(FailureClass.PROTOCOL, f"connection closed {seen if self.phase == TRANSFER else 'without a response'}")

    def _complete(self) -> None:
        self.http_version = self._parser.get_http_version()
        self._end()

    def _close(self) -> None:
        super()._close()
        self._parser = None  # it refers back to us: without this the garbage collector must find each pair

    # httptools calls these while it parses.

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools: one header, or a trailer after the body."""
        if not self._headers_done:  # else a trailer
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """httptools: the headers are there; what has no body is complete with them."""
        self.status = status = self._parser.get_status_code()
        if status < 200 and status != 101:
            return
        self._headers_done = True
        if self._head_only:
            self._complete()
        elif self._want_body:
            coding = self.header(b"content-encoding")
            if coding is not None:
                try:
                    self._decoder = decoder_for(coding.decode("latin-1"))
                except UnsupportedCodingError as error:
                    self._end(FailureClass.PROTOCOL, str(error))

    def on_body(self, data: bytes) -> None:
        """httptools: a piece of the body; beyond the cap it is counted and not kept."""
        if self._waiter.done():
            return
        if self._want_body:
            room = self._body_max + 1 - self.body_bytes
            if self._decoder is not None:
                try:
                    data = self._decoder.decode(data, room)
                except ValueError as error:
                    self._end(FailureClass.PROTOCOL, f"the body's content coding is damaged: {error}")
                    return
            self._chunks.append(data[: room - 1])
        self.body_bytes += len(data)
        if self.body_bytes > self._body_max:
            self.body_bytes, self.truncated = self._body_max, True
            self._complete()

    def on_message_complete(self) -> None:
        """httptools: the response is complete, or an interim one before it."""
        if self._headers_done:
            if not self._waiter.done():
                self._complete()
        else:  # an interim response (1xx): the real one follows
            self.headers = []


def _until_close(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Tell whether the end of the connection is the end of the body (RFC 9112, 6.3)."""
    return not any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in headers)
