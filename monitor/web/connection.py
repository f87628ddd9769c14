"""One connection to the web listener: what a peer may send, and how long he may take. uvicorn bounds neither."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from weakref import WeakKeyDictionary

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

_PIECE_BYTES = 4_096
_END = b"connection: close\r\ncontent-length: 0\r\n\r\n"
_WAITING: WeakKeyDictionary[ServerState, dict[Connection, float]] = WeakKeyDictionary()


class Connection(HttpToolsProtocol):
    """uvicorn's, with limits. One that breaks them gets an error and is closed; nobody else waits for it."""

    head_bytes_max = 16_384
    """Of a request's line and headers."""
    body_bytes_max = 65_536
    request_timeout_s = 5.0
    """From a connection's beginning, or a later request's first byte, to the request's last byte."""
    answer_timeout_s = 30.0
    """From the request's last byte to the answer's, and as long again for the peer to take it."""
    idle_timeout_s = 5
    """Between an answer and the next request."""
    connections_max = 500
    """When one more comes, the one that has kept us waiting longest for a request is closed, if that was for longer than `grace_s`."""
    grace_s = 0.5
    crowd_max = 4_000
    """So many at once are too many: one more is closed itself."""

    _deadline: asyncio.TimerHandle | None = None
    _waiting: dict[Connection, float]
    """All of this listener's that keep us waiting, and since when: the first for the longest time."""
    _reading = False
    """A request has begun, or its time has."""
    _in_head = False
    _head_bytes = 0
    _body_bytes = 0
    _refusal = 400

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request, and make room for it."""
        super().connection_made(transport)
        self._waiting = _WAITING.setdefault(self.server_state, {})
        self._await_request()
        if len(self.connections) > self.connections_max:
            oldest, since_s = next(iter(self._waiting.items()))
            if self.loop.time() - since_s > self.grace_s:
                oldest.transport.abort()
            elif len(self.connections) > self.crowd_max:
                transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        super().connection_lost(exc)
        self._waiting.pop(self, None)
        self._stop()

    def data_received(self, data: bytes) -> None:
        """Take what came, if it is not too much. httptools keeps a header to itself until it is whole, so bytes are counted here."""
        if not self._reading:
            self._await_request()
        for start in range(0, len(data), _PIECE_BYTES):
            if self.transport.is_closing():
                return
            piece = data[start : start + _PIECE_BYTES]
            before = self._head_bytes
            super().data_received(piece)
            if self._in_head or (self._reading and self._head_bytes == before and self in self._waiting):
                self._head_bytes += len(piece)
                if self._head_bytes > self.head_bytes_max:
                    self._refuse(431)

    def on_message_begin(self) -> None:
        """A request has begun."""
        super().on_message_begin()
        self._reading = self._in_head = True
        self._head_bytes = self._body_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Refuse a body that is announced as too large."""
        if name.lower() == b"content-length" and value.isdigit() and int(value[:20]) > self.body_bytes_max:
            self._refusal = 413
            raise ValueError
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: this one keeps us waiting no more."""
        super().on_headers_complete()
        self._in_head = False
        self._waiting.pop(self, None)

    def on_body(self, body: bytes) -> None:
        """Refuse a body that grows too large."""
        self._body_bytes += len(body)
        if self._body_bytes > self.body_bytes_max:
            self._refusal = 413
            raise ValueError
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole: now it is our turn, if it has not been answered yet."""
        super().on_message_complete()
        self._reading = False
        if self.cycle.response_complete:  # An answer that did not wait for the body: uvicorn has forgotten that we are idle.
            self._wait()
            self._limit(self.idle_timeout_s, self.transport.close)
        else:
            self._limit(self.answer_timeout_s, self._answer_is_late)

    def on_response_complete(self) -> None:
        """Wait for the next request, and for the peer to take the answer."""
        super().on_response_complete()
        if not self._reading:
            self._wait()
            self._limit(self.answer_timeout_s, self._answer_is_late)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn calls it so
        """Refuse what cannot be read, or is too large."""
        self._refuse(self._refusal)

    def _await_request(self) -> None:
        self._reading = True
        self._head_bytes = 0
        self._wait()
        self._limit(self.request_timeout_s, lambda: self._refuse(408))

    def _wait(self) -> None:
        self._waiting.pop(self, None)
        self._waiting[self] = self.loop.time()

    def _answer_is_late(self) -> None:
        if self.transport.get_write_buffer_size() or not self.cycle.response_complete:
            self.transport.abort()

    def _refuse(self, status: int) -> None:
        """Say why, where no answer stands half written, and close; a peer that does not take it is not waited for."""
        if self in self._waiting and (self.cycle is None or self.cycle.response_complete):
            self.transport.write(STATUS_LINE[status] + _END)
        self._limit(self.idle_timeout_s, self.transport.abort)
        self.transport.close()

    def _limit(self, seconds: float, otherwise: Callable[[], object]) -> None:
        self._stop()
        self._deadline = self.loop.call_later(seconds, otherwise)

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
