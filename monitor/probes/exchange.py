"""One HTTP/1.1 request and its response on a connection of its own, with caps on what is kept."""

from __future__ import annotations

from monitor.core.outcome import FailureClass
from monitor.core.said import got
from monitor.probes.charset import as_utf8
from monitor.probes.connection import FIRST_BYTE, TRANSFER, Connection
from monitor.probes.decode import Decoder, UnsupportedCodingError, decoder_for
from monitor.probes.network import Destination, Network
from monitor.probes.response import NotHttpError, ResponseReader

HEADER_BYTES_MAX = 65_536
BODY_BYTES_MAX = 1_048_576
WIRE_BYTES_MAX = 8 * BODY_BYTES_MAX
"""Everything received, chunk heads and trailers too, which no other cap counts."""


class HttpExchange(Connection):
    """A response as far as it came: `status`, headers by `values`, `body`.

    The body is decoded and kept only where `want_body` says so. What exceeds BODY_BYTES_MAX (after decoding) is
    neither read nor kept: `truncated` tells. `body_bytes` counts what was read. A response that leads on, by one of the statuses in
    `follows` and a Location, ends with its head: nobody judges its body.
    """

    __slots__ = (
        "_decoder", "_follows", "_pieces", "_reader", "_want_body", "_wire_bytes",
        "body_bytes", "http_version", "matching_ms", "status", "truncated",
    )  # fmt: skip

    def __init__(
        self,
        network: Network,
        to: Destination,
        request: bytes,
        *,
        head_only: bool = False,
        want_body: bool = False,
        follows: frozenset[int] = frozenset(),
        spent: list[float] | None = None,
    ) -> None:
        super().__init__(network, to, request, spent)
        self._want_body, self._follows = want_body, follows
        self._reader = ResponseReader(head_only=head_only)
        self._pieces: list[bytes] = []
        self._decoder: Decoder | None = None
        self._wire_bytes = 0
        self.status = 0
        self.http_version = ""
        self.body_bytes = 0
        self.truncated = False
        self.matching_ms = 0.0
        """How long it took to match what came."""

    @property
    def body(self) -> bytes:
        """As much of the body as was kept, as UTF-8 where it is text."""
        return as_utf8(b"".join(self._pieces), self._reader.header(b"content-type") or b"")

    @property
    def header_bytes(self) -> int:
        """How long all headers are together."""
        return self._reader.header_bytes

    @property
    def location(self) -> bytes:
        """Where the response leads; nothing where it does not say so."""
        return self.header(b"location") or b""

    def values(self, name: bytes) -> list[bytes]:
        """All values of a header by its lower-case name."""
        return self._reader.values(name)

    def header(self, name: bytes) -> bytes | None:
        """Its first value."""
        return self._reader.header(name)

    def _received(self, data: memoryview | bytes) -> None:
        if self.phase == FIRST_BYTE:
            self._enter(TRANSFER)
        reader = self._reader
        self._wire_bytes += len(data)
        try:
            piece = reader.feed(data)
        except NotHttpError as error:
            seen = "" if self.status else got(reader.unread or bytes(data))
            self._end(FailureClass.PROTOCOL, f"not a valid HTTP response: {error}{seen}")
            return
        if not self.status:
            if self._wire_bytes > HEADER_BYTES_MAX and not 0 < reader.header_bytes <= HEADER_BYTES_MAX:
                self._end(FailureClass.PROTOCOL, f"response headers exceed {HEADER_BYTES_MAX} bytes")
                return
            if not reader.status:
                return
            self.status, self.http_version = reader.status, reader.http_version
            if self.status in self._follows and self.location:
                self._end()
                return
            if self._want_body and not self._choose_decoder():
                return
        if piece:
            self._take(piece)
        if reader.done:
            self._complete()
        elif self._wire_bytes > WIRE_BYTES_MAX:
            self._end(FailureClass.PROTOCOL, f"response exceeds {WIRE_BYTES_MAX} bytes on the wire")

    def _choose_decoder(self) -> bool:
        if self.header(b"content-encoding"):
            try:
                self._decoder = decoder_for(b",".join(self.values(b"content-encoding")).decode("latin-1"))
            except UnsupportedCodingError as error:
                self._end(FailureClass.PROTOCOL, str(error))
                return False
        return True

    def _take(self, piece: memoryview | bytes) -> None:
        """Keep a piece of the body, as far as it is wanted and below the cap."""
        if self._want_body:
            room = BODY_BYTES_MAX + 1 - self.body_bytes
            if self._decoder is not None:
                try:
                    piece = self._decoder.decode(bytes(piece), room)
                except ValueError as error:
                    self._end(FailureClass.PROTOCOL, f"the body's content coding is damaged: {error}")
                    return
            self._pieces.append(bytes(piece[: room - 1]))
        self.body_bytes += len(piece)
        if self.body_bytes > BODY_BYTES_MAX:
            self.body_bytes, self.truncated = BODY_BYTES_MAX, True
            self._end()

    def _ended_by_peer(self) -> None:
        if self._reader.until_close:
            if self.torn:
                self._end(FailureClass.PROTOCOL, "connection cut without TLS's close_notify, so the body may not be whole")
            else:
                self._complete()
        else:
            seen = "before the end of the body" if self.status else "before the end of the headers"
            self._end(FailureClass.PROTOCOL, f"connection closed {seen if self.phase == TRANSFER else 'without a response'}")

    def _complete(self) -> None:
        if self._decoder is not None and not self._decoder.whole:
            self._end(FailureClass.PROTOCOL, "the body's content coding ends early")
        else:
            self._end()
